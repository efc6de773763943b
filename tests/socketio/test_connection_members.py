"""The sockets that one connection has."""

from __future__ import annotations

from rtcio_sync import Server
from rtcio_sync.adapter.member import Member
from rtcio_sync.socketio.connection_members import ConnectionMembers
from tests.clients import Polling


def test_a_socket_that_leaves_late_does_not_remove_its_successor() -> None:
    server = Server(namespaces="*")
    client = Polling(server).join().join("/calls")
    link = server.eio.sockets[client.eio_sid]
    members = ConnectionMembers(server.eio, server.registry)
    (first,) = (link.members or {}).values()
    second = Member("the-second", client.eio_sid, "/calls")
    members.attach(second)
    members.detach(first)
    assert link.members == {"/calls": second}
    members.detach(second)
    assert not link.members
