"""The Flask app that a server wraps. Beside `flask_socketio`, no other folder imports flask."""
