"""A client that joins a room gets its last 50 chat messages. SQLite keeps them over a restart.

    python examples/chat_history.py

CHAT_DB names the file; it is chat.sqlite3 by default.
"""

from gevent import monkey

monkey.patch_all()

import os
import sqlite3

from rtcio_sync import RtcioEvents, Server

server = Server(cors_allowed_origins="*")
database = sqlite3.connect(os.environ.get("CHAT_DB", "chat.sqlite3"))
database.execute("create table if not exists chat (room text, name text, words text)")


def last_words(room):
    rows = database.execute(
        "select name, words from (select rowid, * from chat where room = ? order by rowid desc"
        " limit 50) order by rowid",
        (room,),
    )
    return [{"name": name, "text": words} for name, words in rows]


@server.on("connection")
def on_connection(socket):
    @socket.on("join-room")
    def join_room(data):
        room = str(data["roomId"])
        socket.data["name"] = str(data.get("name", "somebody"))
        socket.join(room)
        socket.emit("chat-history", {"roomId": room, "messages": last_words(room)})
        socket.to(room).emit(RtcioEvents.INIT_OFFER, {"source": socket.id})

    @socket.on("chat-message")
    def chat_message(data):
        room, words = data.get("roomId"), data.get("text")
        if room not in socket.rooms or not isinstance(words, str) or not 0 < len(words) <= 1000:
            return False  # the return value is the acknowledgement, if the client asked for one
        name = socket.data["name"]
        with database:
            database.execute("insert into chat values (?, ?, ?)", (room, name, words))
        message = {"roomId": room, "id": socket.id, "name": name, "text": words}
        socket.to(room).emit("chat-message", message)
        return True


if __name__ == "__main__":
    server.listen(int(os.environ.get("PORT", 3001)), host="127.0.0.1")
