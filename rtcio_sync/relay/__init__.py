"""Relays envelopes from one client to another, and sends peer-left."""
