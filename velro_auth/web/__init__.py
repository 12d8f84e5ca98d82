"""HTTP code that both lanes share: middleware, CORS, client addresses, error responses."""
