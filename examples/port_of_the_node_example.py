"""The server of the rtc.io documentation's quickstart, in Python, statement by statement.

    python examples/port_of_the_node_example.py

Open http://localhost:3001 to try it in two tabs.

It trusts its clients as the original does; `rtcio_sync.Lobby` is a strict form of this protocol.
"""

from gevent import monkey

monkey.patch_all()

import os

import try_it

from rtcio_sync import RtcioEvents, Server

server = Server(cors_allowed_origins="*")  # cors: { origin: "*" }

last_media_state = {}  # sid: {"mic": bool, "cam": bool}, for peers that join later


@server.on("connection")
def on_connection(socket):
    print("connected", socket.id, flush=True)

    @socket.on("join-room")
    def join_room(data):
        room_id, name = data["roomId"], data.get("name")
        socket.data["name"] = name

        # server.sockets.adapter.rooms.get(roomId): the peers before the newcomer
        existing = server.of("/").rooms.get(room_id, ())
        socket.join(room_id)

        for sid in existing:
            peer = server.sockets.get(sid)  # server.sockets.sockets.get(id)
            if peer is None or peer is socket:
                continue
            socket.emit("user-connected", {"id": sid, "name": peer.data.get("name")})
            if sid in last_media_state:
                state = {"id": sid, "roomId": room_id, **last_media_state[sid]}
                socket.emit("media-state", state)

        socket.to(room_id).emit("user-connected", {"id": socket.id, "name": name})
        socket.to(room_id).emit(RtcioEvents.INIT_OFFER, {"source": socket.id})

    @socket.on("media-state")
    def media_state(data):
        if isinstance(data.get("mic"), bool) and isinstance(data.get("cam"), bool):
            last_media_state[socket.id] = {"mic": data["mic"], "cam": data["cam"]}
        socket.to(data["roomId"]).emit("media-state", data)

    @socket.on("stopScreenShare")
    def stop_screen_share(data):
        socket.to(data["roomId"]).emit("stopScreenShare", data)

    @socket.on("disconnecting")
    def disconnecting():
        last_media_state.pop(socket.id, None)
        for room_id in socket.rooms - {socket.id}:
            socket.to(room_id).emit("user-disconnected", {"id": socket.id})


if __name__ == "__main__":
    port = int(os.environ.get("PORT", 3001))
    server.listen(port, host="127.0.0.1", app=try_it.app(data={"roomId": "demo", "name": "Ada"}))
