"""What operators see: logs, metrics, alerts."""
