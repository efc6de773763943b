"""The bytes of one client: its WebSocket, its HTTP answers, its socket out of a WSGI environ."""
