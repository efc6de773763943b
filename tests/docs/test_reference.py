"""The reference is written from the code, is up to date, and its examples are accepted."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import flask
import pytest
import socketio

import rtcio_sync
from rtcio_sync import Limits, Options
from rtcio_sync.adapter.recovery_options import RecoveryOptions
from tests.docs.pages import ROOT

REFERENCE = (ROOT / "docs/reference.md").read_text()
API = (ROOT / "docs/api.md").read_text()

EXAMPLES = re.findall(r"^Example: `Server\((.*)\)`$", REFERENCE, re.M)


def test_it_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/write-reference")], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_accepted(example: str) -> None:
    known = {"Limits": Limits, "flask": flask, "json": json, "socketio": socketio}
    given: dict[str, Any] = eval(f"dict({example})", known)
    options = Options.of(given)
    assert options.given == set(given)
    RecoveryOptions.of(options.connection_state_recovery)


def test_every_option_has_an_entry_and_an_example() -> None:
    fields = [
        *(set(Options.__dataclass_fields__) - {"given", "passed"}),
        *Limits.__dataclass_fields__,
        *RecoveryOptions.__dataclass_fields__,
    ]
    assert len(EXAMPLES) == len(fields)
    assert sorted(re.findall(r"^### `(\w+)`$", REFERENCE, re.M)) == sorted(fields)


#: Types that are described where they are used, and the version.
ASIDE = {"DisconnectReason", "Event", "__version__"}


@pytest.mark.parametrize("name", [each for each in rtcio_sync.__all__ if each not in ASIDE])
def test_every_public_name_has_a_place(name: str) -> None:
    assert re.search(rf"^##[#]? `{name}\b", API, re.M)
