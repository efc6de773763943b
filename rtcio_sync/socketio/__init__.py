"""Socket.IO for the app: its handlers, sockets, namespaces and broadcasts."""
