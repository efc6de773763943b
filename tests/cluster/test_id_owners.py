"""Which node has which id."""

from __future__ import annotations

from rtcio_sync.cluster.id_owners import Heirs


def test_a_node_that_begins_anew_has_its_new_id_alone_and_knows_no_others() -> None:
    heirs = Heirs("own0", ["near", "farr"])
    nodes, own = heirs.nodes, heirs.own
    for node in ("near", "farr"):
        heirs.joined(node)
    heirs.moving("near", ["near"], "own0")
    heirs.inherited_by("near", ["near"], "own0")
    assert own == {"own0", "near"} and nodes == {"farr": "farr"}
    heirs.begin_anew("own1")
    assert heirs.own is own == {"own1"} and heirs.nodes is nodes == {}
    assert not heirs.inherited and not heirs.is_leaving("near")
    heirs.joined("near")
    assert nodes == {"near": "near"}


def test_a_session_that_has_followed_its_client_counts_before_the_id_of_its_sid() -> None:
    heirs = Heirs("own0", ["near", "farr"])
    for node in ("near", "farr"):
        heirs.joined(node)
    sid, pid, own = "near" + 16 * "a", "near" + 20 * "b", "own0" + 16 * "c"
    heirs.moved((sid, pid), "farr")
    assert (heirs.holder(sid), heirs.holder("near" + 16 * "d")) == ("farr", "near")
    heirs.taken((sid, pid))
    assert heirs.holder(sid) is None and heirs.has(sid) and heirs.has(pid)
    heirs.moved((own,), "farr")
    assert heirs.holder(own) == "farr" and not heirs.has(own) and heirs.has("own0" + 16 * "d")
    heirs.inherited_by("near", ["near", sid], "farr")  # said before it came here
    assert heirs.holder("near" + 16 * "d") == "farr" and heirs.has(sid)
    assert heirs.inherited == {"farr": 1}
    heirs.forget((sid, pid, own), "own0")
    assert not heirs.has(sid) and heirs.holder(own) == "farr"
    assert heirs.died("farr") == {"farr", "near", own}
    assert heirs.has(own)


def test_the_end_of_a_node_that_leaves_takes_no_session_back_that_has_followed_its_client() -> None:
    heirs = Heirs("own0", ["near", "farr"])
    for node in ("near", "farr"):
        heirs.joined(node)
    sid = "gone" + 16 * "a"
    heirs.moved((sid,), "near")
    heirs.moving("near", ["near", sid], "own0")
    heirs.moved((sid,), "farr")
    heirs.inherited_by("near", ["near", sid], "own0")
    assert heirs.holder(sid) == "farr" and heirs.has("near" + 16 * "b")
