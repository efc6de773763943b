"""``python -m rtcio_sync``: the command ``rtcio-sync``."""

from .cli import main

if __name__ == "__main__":
    main()
