"""Socket.IO packets: from a message to a packet and back."""
