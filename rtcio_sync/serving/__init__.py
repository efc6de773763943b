"""A process that serves: `Server.listen`, its HTTP servers, and how it ends."""
