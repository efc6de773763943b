"""What goes between processes, and how it gets there."""
