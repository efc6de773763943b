"""A process that serves: `Server.listen`, its HTTP server, and how it ends."""
