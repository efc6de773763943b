"""A member's stages: one table, one door; and when it is one of its namespace."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

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


@pytest.mark.parametrize("stage", Stage)
def test_without_a_session_only_a_connected_member_is_present(stage: Stage) -> None:
    member = Member("sid", "eio", "/")
    member.stage = stage
    assert member.present is (stage is Stage.CONNECTED)


@pytest.mark.parametrize("stage", Stage)
def test_with_an_open_session_one_that_was_lost_is_present_too(stage: Stage) -> None:
    member = Member("sid", "eio", "/")
    member.stage, member.session = stage, SimpleNamespace(open=True)
    assert member.present is (stage is not Stage.CONNECTING)
    member.session.open = False
    assert member.present is (stage is Stage.CONNECTED)


@pytest.mark.parametrize("stage", Stage)
def test_one_that_has_left_for_good_is_not_present(stage: Stage) -> None:
    member = Member("sid", "eio", "/")
    member.stage, member.session, member.departed = stage, SimpleNamespace(open=True), True
    assert not member.present
