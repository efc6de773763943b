"""The public server with room for one connection."""

from rtcio_sync.cli.public import public_app

app, server, lobby = public_app(max_connections=1)
