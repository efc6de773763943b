"""Only clients with a valid JSON Web Token may connect, and handlers know its user.

    JWT_SECRET=... python examples/jwt_auth.py

In the browser: io(url, {auth: {token}}). A refused client gets `connect_error` with the message.
Without JWT_SECRET the example makes a secret and prints a token to try.
"""

from gevent import monkey

monkey.patch_all()

import os
import secrets
import time

import jwt

from rtcio_sync import ConnectionRefusedError, RtcioEvents, Server

SECRET = os.environ.get("JWT_SECRET") or secrets.token_hex()

server = Server(cors_allowed_origins="*")  # any page may connect: the token authenticates


@server.use
def authenticate(socket):
    try:
        claims = jwt.decode(
            socket.handshake.auth["token"],
            SECRET,
            algorithms=["HS256"],  # never take the algorithm from the token
            options={"require": ["exp", "sub"]},
        )
    except (KeyError, TypeError, jwt.InvalidTokenError):
        # Do not tell the client what was wrong with the token.
        raise ConnectionRefusedError("invalid token", {"code": "token"}) from None
    socket.data["user"] = claims["sub"]


@server.on("connection")
def on_connection(socket):
    @socket.on("join-room")
    def join_room(data):
        socket.join(data["roomId"])
        # The name in the token, never a name that the client sends.
        card = {"id": socket.id, "name": socket.data["user"]}
        socket.to(data["roomId"]).emit("user-connected", card)
        socket.to(data["roomId"]).emit(RtcioEvents.INIT_OFFER, {"source": socket.id})


if __name__ == "__main__":
    if "JWT_SECRET" not in os.environ:
        claims = {"sub": "ada", "exp": time.time() + 3600}
        print("a token for an hour:", jwt.encode(claims, SECRET, "HS256"), flush=True)
    server.listen(int(os.environ.get("PORT", 3001)), host="127.0.0.1")
