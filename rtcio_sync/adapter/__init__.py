"""Who is connected, who is in which room, and what those who lost their connection have missed."""
