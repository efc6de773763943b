"""The Flask app that a server wraps. The one folder that imports flask."""
