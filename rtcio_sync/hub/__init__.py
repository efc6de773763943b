"""The thread that runs the gevent hub, and what greenlets owe each other there."""
