"""Watching a deployment from outside: observations, incidents, alerts, and a report of what was seen."""
