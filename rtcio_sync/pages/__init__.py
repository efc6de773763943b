"""The room page: video calls with chat, as a part of any Flask app or web page.

::

    from rtcio_sync import Server
    from rtcio_sync.pages import RoomPage

    server = Server(app=app)
    RoomPage(server, url_prefix="/call", title="Tea room", accent="#7b2d8b")
"""

from .room_page import RoomPage

__all__ = ["RoomPage"]
