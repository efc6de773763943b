"""Which node has the members of an id: the node with that id, or the heir of one that left.

Plain data, used by one thread. # hub or greenlet

A node has its own id and those of the nodes that left to it. While a node A is leaving, its heir
passes on to A what A's members get (`handover_heir`); for all others, they are the heir's already.

One session may be at another node than its id says: it has followed its client there
(`session_claims`). Then its sid and its key are *names*, which count before the id with which they
begin.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ..engineio.ids import NODE

__all__ = ["Heirs"]


class Heirs:
    """Who has which id, as one node knows it."""

    def __init__(self, own: str, alive: Collection[str]) -> None:
        self._own = own
        self._alive = alive
        #: By id of other nodes: the node to which to send what is for its members. While this node
        #: takes over from one, that one still has its ids; while this one leaves, its heir has its
        #: own.
        self.nodes: dict[str, str] = {}
        #: The ids that this node has: its own, and those of nodes that left to it.
        self.own: set[str] = {own}
        # Ids of nodes that are leaving, and those nodes.
        self._leaving: dict[str, str] = {}
        # How many ids each node has had before it began to leave.
        self.inherited: dict[str, int] = {}

    def begin_anew(self, own: str) -> None:
        """This node is another one from now on, and knows no others."""
        self._own = own
        self.own.clear()
        self.own.add(own)
        for each in (self.nodes, self._leaving, self.inherited):
            each.clear()

    def holder(self, name: str) -> str | None:
        """The other node to which to send what is for a sid; `None`: there is none.

        Or the node with the session of a key.
        """
        nodes = self.nodes
        return nodes.get(name) or (None if name in self.own else nodes.get(name[:NODE]))

    def has(self, name: str) -> bool:
        """Whether a sid, or a key, is this node's."""
        return name in self.own or (name[:NODE] in self.own and name not in self.nodes)

    @property
    def names(self) -> list[str]:
        """The sids and keys that are this node's, and not by their ids."""
        return [each for each in self.own if len(each) > NODE]

    def is_placed(self, name: str) -> bool:
        """Whether a sid, or a key, may be at another node than its id says."""
        return name in self.own or name in self.nodes

    def moved(self, names: Iterable[str], node: str) -> None:
        """One session is another node's now."""
        for each in names:
            self.own.discard(each)
            self._leaving.pop(each, None)
            self.nodes[each] = node

    def taken(self, names: Iterable[str]) -> None:
        """One session of another node is this one's now."""
        for each in names:
            self._leaving.pop(each, None)
            self.nodes.pop(each, None)
            self.own.add(each)

    def forget(self, names: Iterable[str], node: str) -> None:
        """Sessions have ended at a node."""
        for each in names:
            if len(each) > NODE:
                if node == self._own:
                    self.own.discard(each)
                elif self.nodes.get(each) == node:
                    del self.nodes[each]

    def joined(self, node: str) -> None:
        """A node lives."""
        self.nodes.setdefault(node, node)

    def moving(self, source: str, ids: Iterable[str], heir: str) -> None:
        """A node leaves: what is for its members goes to the heir."""
        for each in ids:
            if each in self.own and source != self._own:
                continue  # it has come already
            at = self.nodes.get(each, source)
            if len(each) > NODE and at not in (source, heir) and self._leaving.get(each) != source:
                continue  # it has followed its client since
            self._leaving[each] = source
            self.nodes[each] = source if heir == self._own else heir

    def inherited_by(self, source: str, ids: Collection[str], heir: str) -> None:
        """The node has left: its ids belong to the heir."""
        for each in ids:
            self._leaving.pop(each, None)
            if len(each) > NODE and self.nodes.get(each, source) not in (source, heir):
                continue  # it has followed its client since
            if heir == self._own:
                self.nodes.pop(each, None)
                self.own.add(each)
            elif each not in self.own:
                self.nodes[each] = heir
        count = sum(len(each) == NODE for each in ids)
        self.inherited[heir] = self.inherited.get(heir, 0) + count

    def died(self, node: str) -> set[str]:
        """A node is dead; returns the ids that nobody has any more.

        What was on its way to it goes back to the node that leaves, if that one lives.
        """
        lost: set[str] = set()
        for each, holder in list(self.nodes.items()):
            if holder != node:
                continue
            source = self._leaving.get(each)
            if source is not None and source != node and self._still_there(source):
                self.nodes[each] = source
                if source == self._own:
                    del self.nodes[each]
            else:
                del self.nodes[each]
                self._leaving.pop(each, None)
                lost.add(each)
        self.inherited.pop(node, None)
        return lost

    def _still_there(self, node: str) -> bool:
        return node == self._own or node in self._alive

    def sources(self, node: str) -> list[str]:
        """The nodes that are leaving to this one, and may still have members."""
        found = {
            source
            for each, source in self._leaving.items()
            if self.nodes.get(each) == node and source != node
        }
        return [each for each in found if each in self._alive]

    def is_leaving(self, node: str) -> bool:
        """Whether it has begun to leave, and its heir has not yet all."""
        return node in self._leaving
