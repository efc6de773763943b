"""What the command prints about who may connect."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rtcio_sync.cli.origins import told_origins


@pytest.mark.parametrize(
    ("origins", "told"),
    [
        ("*", "ANY page may connect"),
        ([], "ANY page may connect"),
        (None, "the server's own"),
        (lambda origin: True, "those that the app's function allows"),
        ("https://a.example", "https://a.example"),
        (["https://a.example", re.compile("https://b.*")], "https://a.example, https://b.*"),
    ],
)
def test_who_may_connect_is_told(origins: Any, told: str) -> None:
    assert told_origins(origins).startswith(told)
