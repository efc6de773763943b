"""The members of one connection: which sockets it has, and the limits that follow from that."""

from __future__ import annotations

from functools import reduce

from ..adapter.member import Member
from ..engineio.socket import Socket as Link
from ..options import Limits
from .handler_registry import Registry
from .ports import Engine

__all__ = ["ConnectionMembers"]


class ConnectionMembers:
    """Adds members to the connections of one server, and removes them. # hub or greenlet"""

    def __init__(self, engine: Engine, registry: Registry) -> None:
        self._engine = engine
        self._registry = registry

    def attach(self, member: Member) -> None:
        """Adds a member to its connection."""
        link = self._engine.sockets.get(member.eio_sid)
        if not isinstance(link, Link):
            return  # it has no connection: another package's test client
        member.link = link
        if member.namespace == "/":
            link.root = member
        else:
            link.members = link.members or {}
            link.members[member.namespace] = member
        if self._registry.own_limits:
            self.fit(link)

    def detach(self, member: Member) -> None:
        """Removes a member from its connection, which may go on with other namespaces."""
        link = member.link
        if link is not None:
            if link.root is member:
                link.root = None
            elif link.members and link.members.get(member.namespace) is member:
                del link.members[member.namespace]
            # A dynamic namespace that is empty has lost its own limits by now.
            if self._registry.own_limits or link.limits is not self._registry.limits:
                self.fit(link)

    def fit(self, link: Link) -> None:
        """Gives a connection the widest limits of the namespaces that it is in."""
        inside = [*(("/",) if link.root is not None else ()), *(link.members or ())]
        found = [self._registry.limits_of(namespace) for namespace in inside]
        limits = reduce(Limits.widest, found) if found else self._registry.limits
        if limits != link.limits:
            link.adopt(limits)
