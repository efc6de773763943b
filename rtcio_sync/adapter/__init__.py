"""Members and rooms of each namespace, sending to them, and sessions that outlive a connection."""
