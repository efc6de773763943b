"""Calls in one namespace, an admin page in another: only sockets in /calls may relay.

    python examples/namespaces.py

Open http://localhost:3001 to try it in two tabs.

In the browser: io("http://localhost:3001/calls") and io("http://localhost:3001/admin", {auth}).
"""

from gevent import monkey

monkey.patch_all()

import os

import try_it

from rtcio_sync import ConnectionRefusedError, RtcioEvents, Server, add_default_listeners

server = Server(cors_allowed_origins="*")
calls, admin = server.of("/calls"), server.of("/admin")

add_default_listeners(calls)  # a Server does this by default for "/" only


@calls.on("connection")
def on_call(socket):
    @socket.on("join-room")
    def join_room(data):
        socket.join(data["roomId"])
        socket.to(data["roomId"]).emit(RtcioEvents.INIT_OFFER, {"source": socket.id})
        admin.emit("occupancy", {"room": data["roomId"], "peers": len(calls.rooms[data["roomId"]])})


@admin.use
def only_admins(socket):
    if socket.handshake.auth != {"key": os.environ.get("ADMIN_KEY", "sesame")}:
        raise ConnectionRefusedError("not for you")


@admin.on("connection")
def on_admin(socket):
    @socket.on("close-room")
    def close_room(room):
        calls.in_(room).emit("room-closed", {"roomId": room})
        calls.in_(room).disconnect_sockets()


if __name__ == "__main__":
    port = int(os.environ.get("PORT", 3001))
    page = try_it.app(namespace="/calls", auth={"key": "sesame"})  # or /admin, to watch
    server.listen(port, host="127.0.0.1", app=page)
