"""The smallest useful server: it connects the peers of a room with each other.

    python examples/minimal.py

In the browser: io("http://localhost:3001"), then socket.server.emit("join-room", {roomId: "demo"}).
"""

from gevent import monkey

monkey.patch_all()

import os

from rtcio_sync import RtcioEvents, Server

server = Server(cors_allowed_origins="*")  # any page may connect; name yours before you go public


@server.on("connection")
def on_connection(socket):
    @socket.on("join-room")
    def join_room(data):
        socket.join(data["roomId"])
        # Asks the peers in the room to make the newcomer an offer.
        socket.to(data["roomId"]).emit(RtcioEvents.INIT_OFFER, {"source": socket.id})


if __name__ == "__main__":
    # Only this machine can connect; without `host` every machine can.
    server.listen(int(os.environ.get("PORT", 3001)), host="127.0.0.1")
