"""The thread that runs the gevent hub: calls from other threads, turns of handlers, forks."""
