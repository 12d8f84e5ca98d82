"""What both lanes share over HTTP: the middleware, CORS, client addresses, problems, responses, extensions."""
