"""The Engine.IO server: handshake, polling, upgrade, heartbeat, and a connection's inbox."""
