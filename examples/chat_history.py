"""A chat that SQLite keeps: a newcomer gets the last messages, and earlier ones page by page.

    python examples/chat_history.py
    cd examples && gunicorn -k gevent -w 2 chat_history:app

CHAT_DB names the file; it is chat.sqlite3 by default. docs/chat-history.md explains each part.
"""

from gevent import monkey

monkey.patch_all()

import os
import sqlite3
from contextlib import closing

import gevent
import try_it
from flask import Flask

from rtcio_sync import RtcioEvents, Server

PAGE = 50  # messages
TABLES = """
create table if not exists chat (
    number integer primary key autoincrement,  -- the order of all messages
    room text not null,
    name text not null,
    words text not null,
    key text not null,  -- the client's own name for the message
    unique (room, key)
);
create index if not exists chat_pages on chat (room, number);
"""

app = Flask(__name__)
server = Server(app=app, cors_allowed_origins="*")


def database():
    """A connection, closed at the end of `with`. Another process may write for 30 s meanwhile."""
    return closing(sqlite3.connect(os.environ.get("CHAT_DB", "chat.sqlite3"), timeout=30))


def in_thread(query, *args):
    """Runs a query in a real thread. Only the handler that asks waits for it."""
    return gevent.get_hub().threadpool.apply(query, args)


def keep(room, name, words, key):
    """Keeps a message once, however often it is sent, and returns it as it is kept."""
    with database() as connection, connection:  # the second `connection` commits
        connection.execute(
            "insert or ignore into chat (room, name, words, key) values (?, ?, ?, ?)",
            (room, name, words, key),
        )
        kept = "select number, name, words from chat where room = ? and key = ?"
        return message(*connection.execute(kept, (room, key)).fetchone())


def page_before(room, number):
    """The last messages of a room before a number, the oldest first."""
    with database() as connection:
        rows = connection.execute(
            "select number, name, words from chat where room = ? and number < ?"
            " order by number desc limit ?",
            (room, number, PAGE + 1),  # one more, to know whether there are more
        ).fetchall()
    messages = [message(*row) for row in reversed(rows[:PAGE])]
    return {"roomId": room, "messages": messages, "more": len(rows) > PAGE}


def message(number, name, words):
    return {"number": number, "name": name, "text": words}


@server.on("connection")
def on_connection(socket):
    @socket.on("join-room")
    def join_room(data):
        room = str(data["roomId"])
        socket.data["name"] = str(data.get("name", "somebody"))[:256]
        socket.join(room)  # before the query: what is said meanwhile comes as an event
        socket.emit("chat-history", in_thread(page_before, room, 2**63 - 1))
        socket.to(room).emit(RtcioEvents.INIT_OFFER, {"source": socket.id})

    @socket.on("chat-message")
    def chat_message(data):
        room, words, key = (data.get(name) for name in ("roomId", "text", "key"))
        if room not in socket.rooms:
            return {"error": "not in this room"}
        if not isinstance(words, str) or not 0 < len(words) <= 1000:
            return {"error": "text has to be a string of 1 to 1000 characters"}
        if not isinstance(key, str) or not 0 < len(key) <= 64:
            return {"error": "key has to be a string of 1 to 64 characters"}
        kept = in_thread(keep, room, socket.data["name"], words, key)
        socket.to(room).emit("chat-message", {"roomId": room, "id": socket.id, **kept})
        return kept  # the acknowledgement

    @socket.on("chat-page")
    def chat_page(data):
        room, before = data.get("roomId"), data.get("before")
        if room not in socket.rooms:
            return {"error": "not in this room"}
        if type(before) is not int or not 0 < before < 2**63:
            return {"error": "before has to be the number of a message"}
        return in_thread(page_before, room, before)


with database() as connection:
    connection.executescript(TABLES)

if __name__ == "__main__":
    app.get("/")(try_it.page(data={"roomId": "demo", "name": "Ada"}))  # to try it in a browser
    server.listen(int(os.environ.get("PORT", 3001)), host="127.0.0.1")
