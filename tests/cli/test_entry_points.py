"""The commands that an installation makes are where setup.cfg says."""

from __future__ import annotations

import configparser
import importlib
from pathlib import Path

import pytest

from rtcio_sync.cli.command import main
from rtcio_sync.flask.commands import commands

SETUP = Path(__file__).parents[2] / "setup.cfg"


@pytest.mark.parametrize(
    ("group", "name", "expected"),
    [("console_scripts", "rtcio-sync", main), ("flask.commands", "rtcio", commands)],
)
def test_an_entry_point_names_what_there_is(group: str, name: str, expected: object) -> None:
    setup = configparser.ConfigParser()
    setup.read(SETUP)
    lines = setup["options.entry_points"][group].split("\n")
    (target,) = [line.partition("=")[2].strip() for line in lines if line.startswith(f"{name} ")]
    module, _, attribute = target.partition(":")
    assert getattr(importlib.import_module(module), attribute) is expected
