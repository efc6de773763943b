"""What the commands share at their start: addresses, a certificate, reloading, debugging."""
