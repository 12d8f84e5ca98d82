"""The gunicorn worker: connections, requests, and the answers to what cannot be read."""
