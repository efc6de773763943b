"""A member's stages: one table, one door."""

from __future__ import annotations

import itertools

import pytest

from rtcio_sync.adapter.member import NEXT, Member, Stage


def test_every_stage_has_a_row_and_can_be_reached() -> None:
    assert NEXT.keys() == set(Stage)
    reached = {stage for following in NEXT.values() for stage in following}
    assert reached == set(Stage) - {Stage.CONNECTING}


@pytest.mark.parametrize(
    ("before", "after"),
    list(itertools.product(Stage, Stage)),
    ids=lambda stage: str(stage.name),
)
def test_a_member_moves_as_the_table_says_and_in_no_other_way(before: Stage, after: Stage) -> None:
    member = Member("sid", "connection", "/")
    member.stage = before
    moved = member.enter(after)
    assert moved is (after in NEXT[before])
    assert member.stage is (after if moved else before)


def test_whoever_is_gone_or_away_cannot_be_lost_again() -> None:
    for stage in (Stage.GONE, Stage.AWAY, Stage.LEAVING):
        assert Stage.LEAVING not in NEXT[stage]


def test_disconnect_handlers_run_once_because_a_stage_is_entered_once() -> None:
    member = Member("sid", "connection", "/")
    assert member.enter(Stage.CONNECTED)
    assert member.enter(Stage.LEAVING)
    assert [member.enter(Stage.GONE), member.enter(Stage.GONE)] == [True, False]
    assert member.enter(Stage.AWAY)
    assert member.enter(Stage.CONNECTED)
