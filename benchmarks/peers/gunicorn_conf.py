"""gunicorn for the Flask peers: as many processes and threads as this service has, no access log."""

worker_class = "gthread"
workers = 1
threads = 32
keepalive = 75
preload_app = True
accesslog = None
control_socket_disable = True
