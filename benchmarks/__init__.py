"""The measured claims of the README, reproducible by one command: ``python -m benchmarks``."""
