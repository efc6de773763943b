"""The command `rtcio-sync`, and its pages."""
