"""The way of an envelope from one client to another."""
