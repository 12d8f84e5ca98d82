"""What this service is compared with: each a fair, idiomatic version of the same three routes."""
