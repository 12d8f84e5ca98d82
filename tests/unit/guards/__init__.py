"""The guards, without sockets and without waiting."""
