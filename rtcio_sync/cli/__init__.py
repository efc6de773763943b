"""The command `rtcio-sync`."""
