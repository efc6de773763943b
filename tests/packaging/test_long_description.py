"""The README as an index shows it: with the repository's address in setup.cfg, and without one."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.packaging.packages import ROOT

SETUP: dict[str, Any] = runpy.run_path(str(ROOT / "setup.py"), run_name="read")
README = (ROOT / "README.md").read_text(encoding="utf-8")
REPOSITORY = "https://git.example/rtcio-sync"

source: Callable[[Path], str | None] = SETUP["source"]


def targets(text: str) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", text)


def test_with_an_address_each_link_is_absolute_and_to_a_file_that_exists() -> None:
    found = targets(SETUP["absolute"](README, REPOSITORY))
    own = [each for each in found if each.startswith(f"{REPOSITORY}/")]
    assert len(own) > 15
    assert all(each.startswith("https://") for each in found)
    for target in own:
        path = re.sub(r"^/(?:blob|raw)/main/", "", target.removeprefix(REPOSITORY))
        assert (ROOT / path.partition("#")[0]).exists(), target


def test_without_an_address_the_files_are_named_and_not_linked() -> None:
    text = SETUP["unlinked"](README)
    assert all(each.startswith("https://") for each in targets(text))
    assert "Getting started (`docs/getting-started.md`) goes on from here." in text
    assert text.endswith(SETUP["NOTE"])


def test_the_address_is_that_of_source_in_the_settings(tmp_path: Path) -> None:
    settings = tmp_path / "setup.cfg"
    addresses = "[metadata]\nproject_urls =\n    A = https://a\n"
    settings.write_text(f"{addresses}    Source = {REPOSITORY}\n")
    assert source(settings) == REPOSITORY
    settings.write_text(addresses)
    assert source(settings) is None
