"""The floor: the same bytes through bare sockets, one ``recv`` and one ``send`` for each message.

No relay of one message at a time in one Python process can be cheaper. It has no protocol: the
first bytes of a connection are the size of its messages and the name of its group (``308 room-1``)
and are sent back; all later bytes go to every other member. A group leaves as a whole.
"""

import select
import socket
import sys
from collections.abc import Callable

# A member's recv, the size of its messages, the others' sends.
Member = tuple[Callable[..., bytes], int, list[Callable[..., int]]]


def serve(port: int) -> None:
    listener = socket.create_server(("127.0.0.1", port), backlog=4096)
    poller = select.epoll()
    poller.register(listener, select.EPOLLIN)
    sockets: dict[int, socket.socket] = {}
    members: dict[int, Member] = {}
    groups: dict[bytes, list[int]] = {}

    def arrive() -> None:
        connection, _ = listener.accept()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[connection.fileno()] = connection
        poller.register(connection, select.EPOLLIN)

    def join(fd: int) -> None:
        name = sockets[fd].recv(65536)
        group = groups.setdefault(name, [])
        for other in group:
            members[other][2].append(sockets[fd].send)
        others = [sockets[other].send for other in group]
        members[fd] = (sockets[fd].recv, int(name.partition(b" ")[0] or 1), others)
        group.append(fd)
        sockets[fd].send(name)

    while True:
        for fd, _ in poller.poll():
            if member := members.get(fd):
                receive, size, sends = member
                if message := receive(size):
                    for send in sends:
                        send(message)
                else:
                    del members[fd]
                    sockets.pop(fd).close()
            elif fd in sockets:
                join(fd)
            else:
                arrive()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
