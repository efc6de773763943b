"""Messages between processes, over a pub/sub back end."""
