"""The rooms of other workers' members."""

from __future__ import annotations

from rtcio_sync.cluster.remote_rooms import Replica


def joined(replica: Replica, sid: str, *rooms: str) -> None:
    replica.join(sid[:4], "/", sid, rooms, relays=False)


def nodes(replica: Replica, room: str) -> set[str]:
    return set(replica.nodes_in("/", room))


def test_the_nodes_of_a_room_are_those_with_members_in_it() -> None:
    replica = Replica()
    joined(replica, "aaaa-1", "tea")
    joined(replica, "aaaa-2", "tea", "cake")
    joined(replica, "bbbb-1", "tea")
    assert nodes(replica, "tea") == {"aaaa", "bbbb"}
    replica.leave("aaaa", "aaaa-1", ["tea"])
    assert nodes(replica, "tea") == {"aaaa", "bbbb"}
    replica.leave("aaaa", "aaaa-2", ["tea"])
    assert nodes(replica, "tea") == {"bbbb"}
    assert nodes(replica, "cake") == {"aaaa"}
    assert replica.rooms_of("aaaa-2") == ["cake"]


def test_a_room_that_is_named_twice_counts_once() -> None:
    replica = Replica()
    joined(replica, "aaaa-1", "tea", "tea")
    joined(replica, "aaaa-1", "tea")
    replica.leave("aaaa", "aaaa-1", ["tea", "tea", "unknown"])
    replica.leave("aaaa", "aaaa-unknown", ["tea"])
    assert nodes(replica, "tea") == set()
    assert replica.ghost("aaaa-1") is None


def test_a_room_that_another_node_was_asked_to_join_may_have_members_there() -> None:
    replica = Replica()
    first = replica.expected.begin(["aaaa", "bbbb"], "/", ["tea"])
    second = replica.expected.begin(["aaaa"], "/", ["tea", "cake"])
    assert nodes(replica, "tea") == {"aaaa", "bbbb"}
    replica.expected.done("aaaa", first)
    replica.expected.done("aaaa", first)
    assert nodes(replica, "tea") == {"aaaa", "bbbb"}
    joined(replica, "aaaa-1", "cake")
    replica.expected.done("aaaa", second)
    assert (nodes(replica, "tea"), nodes(replica, "cake")) == ({"bbbb"}, {"aaaa"})
    replica.drop("bbbb")
    assert nodes(replica, "tea") == set()


def test_a_dead_node_leaves_nothing_behind() -> None:
    replica = Replica()
    joined(replica, "aaaa-1", "tea", "cake")
    joined(replica, "bbbb-1", "tea")
    assert [each.sid for each in replica.ghosts_of("aaaa")] == ["aaaa-1"]
    replica.drop("aaaa")
    assert (nodes(replica, "tea"), nodes(replica, "cake")) == ({"bbbb"}, set())
    assert replica.ghosts_of("aaaa") == []
    replica.drop("aaaa")
