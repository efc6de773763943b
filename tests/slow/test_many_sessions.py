"""Thousands of sessions at once."""

from __future__ import annotations

from tests.reconnecting import lose_and_return


def test_five_thousand_lost_at_once_come_back_each_to_its_own() -> None:
    lose_and_return(5000)
