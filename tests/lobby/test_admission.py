"""The book of seats, against a plain model of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rtcio_sync.lobby.admission import Obstacle, Seating

ROOMS = ("r", "s")
SIDS = ("a", "b", "c", "d")
LIMIT = 2  # seats in a room

moves = st.lists(
    st.tuples(
        st.booleans(),
        st.sampled_from(ROOMS),
        st.sampled_from(SIDS),
        st.sampled_from(["", "x", "y"]),
    ),
    max_size=60,
)


@given(moves)
def test_a_room_holds_its_cap_and_its_first_joiners_password_and_nothing_once_empty(
    moves: list[tuple[bool, str, str, str]],
) -> None:
    seating = Seating(b"k" * 32)
    model: dict[str, list[tuple[str, str]]] = {room: [] for room in ROOMS}
    for comes, room, sid, password in moves:
        inside = [who for who, _ in model[room]]
        if not comes:
            assert seating.vacate(room, sid) == (sid in inside)
            if sid in inside:
                owner = model[room][0][1]
                # The password stays the first joiner's when that one has left.
                model[room] = [(who, owner) for who in inside if who != sid]
            continue
        secret = seating.digest(password)
        expected = None
        if sid not in inside:
            if inside and model[room][0][1] not in ("", password):
                expected = Obstacle.WRONG_PASSWORD if password else Obstacle.PASSWORD_REQUIRED
            elif len(inside) == LIMIT:
                expected = Obstacle.ROOM_FULL
        assert seating.obstacle(room, sid, secret, LIMIT) == expected
        if expected is None and sid not in inside:
            seating.sit(room, sid, secret)
            owner = model[room][0][1] if inside else password
            model[room].append((sid, owner))
    for room in ROOMS:
        assert seating.sids(room) == [who for who, _ in model[room]]
        assert seating.closed(room) == bool(model[room] and model[room][0][1])
    for sid in SIDS:
        there = {room for room in ROOMS if sid in [who for who, _ in model[room]]}
        assert set(seating.rooms(sid)) == there
        assert {room for room in ROOMS if seating.sits(room, sid)} == there
    taken = [len(model[room]) for room in ROOMS]
    assert seating.counts() == (sum(map(bool, taken)), sum(taken))


@given(st.text(), st.text())
def test_only_the_same_password_has_the_same_digest(one: str, other: str) -> None:
    seating = Seating(b"k" * 32)
    assert (seating.digest(one) == seating.digest(other)) == (one == other)
    assert one == "" or seating.digest(one) != Seating(b"l" * 32).digest(one)


@given(st.permutations(range(8)), st.permutations(range(8)))
def test_seats_that_are_known_late_are_in_the_order_in_which_they_were_taken(
    known: list[int], since: list[int]
) -> None:
    seating: Seating[int] = Seating(b"key")
    for each in known:
        seating.sit("r", f"sid{each}", b"", since[each])
        later = seating.rank("r", f"sid{each}", lambda holder: holder or 0)
        sids = seating.sids("r")
        assert later == sids[sids.index(f"sid{each}") + 1 :]
    assert seating.sids("r") == [f"sid{since.index(number)}" for number in range(8)]
