"""``python -m rtcio_sync``: the command ``rtcio-sync``."""

from .cli.command import main

if __name__ == "__main__":
    main()
