"""Telemetry, without sockets."""
