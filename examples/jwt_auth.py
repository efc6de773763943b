"""Only clients with a valid JSON Web Token may connect, and only for as long as it is valid.

    JWT_SECRET=... python examples/jwt_auth.py

In the browser: io(url, {auth: {token}}). A refused client gets `connect_error` with the message.
Without JWT_SECRET the example makes a secret and prints a token to try.
docs/authentication.md explains each part.
"""

from gevent import monkey

monkey.patch_all()

import os
import secrets
import time

import jwt
import try_it

from rtcio_sync import ConnectionRefusedError, RtcioEvents, Server

SECRET = os.environ.get("JWT_SECRET") or secrets.token_hex()

server = Server(cors_allowed_origins="*")  # any page may connect: the token authenticates


def claims_of(token):
    """What a valid token says, `None` for any other."""
    try:
        return jwt.decode(
            token,
            SECRET,
            algorithms=["HS256"],  # never take the algorithm from the token
            options={"require": ["exp", "sub"]},
        )
    except (jwt.InvalidTokenError, UnicodeError):
        return None


@server.use
def authenticate(socket):
    auth = socket.handshake.auth  # of any type: the client has sent it
    claims = claims_of(auth.get("token") if isinstance(auth, dict) else None)
    if claims is None:
        # Do not tell the client what was wrong with the token.
        raise ConnectionRefusedError("invalid token", {"code": "token"})
    socket.data.update(user=claims["sub"], expires=float(claims["exp"]))


@server.on("connection")
def on_connection(socket):
    @socket.on("join-room")
    def join_room(data):
        socket.join(data["roomId"])
        # The name in the token, never a name that the client sends.
        card = {"id": socket.id, "name": socket.data["user"]}
        socket.to(data["roomId"]).emit("user-connected", card)
        socket.to(data["roomId"]).emit(RtcioEvents.INIT_OFFER, {"source": socket.id})

    @socket.on("renew")
    def renew(token):
        claims = claims_of(token)
        if claims is None or claims["sub"] != socket.data["user"]:
            return {"error": "invalid token"}
        socket.data["expires"] = float(claims["exp"])
        return {"expires": socket.data["expires"]}


def disconnect_the_expired():
    while True:
        server.sleep(1)
        for socket in list(server.sockets.values()):  # those of this worker
            if socket.data["expires"] <= time.time():
                socket.emit("token-expired")
                socket.disconnect(close=True)


server.start_background_task(disconnect_the_expired)

if __name__ == "__main__":
    if not os.environ.get("JWT_SECRET"):
        claims = {"sub": "ada", "exp": time.time() + 3600}
        print("a token for an hour:", jwt.encode(claims, SECRET, "HS256"), flush=True)
    page = try_it.app(auth={"token": "paste the token that is printed here"})
    server.listen(int(os.environ.get("PORT", 3001)), host="127.0.0.1", app=page)
