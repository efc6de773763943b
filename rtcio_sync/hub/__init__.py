"""The thread that runs the gevent hub: calls from other threads, its greenlets, turns, forks."""
