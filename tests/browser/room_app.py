"""The public server's app, for a WSGI server of another make than the command line's."""

from rtcio_sync import RtcioEvents
from rtcio_sync.cli.public import public_app

app, server, lobby = public_app()


@server.on("call-again")
def call_again(sid: str, room: str) -> None:
    """Tells the others once more that somebody has joined, as a careless app may."""
    server.emit(RtcioEvents.INIT_OFFER, {"source": sid}, to=room, skip_sid=sid)
