"""`Lobby`: ready-made rooms with passwords and presence."""
