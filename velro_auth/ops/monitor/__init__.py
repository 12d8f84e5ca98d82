"""Monitors a deployment from outside: observations, incidents, alerts and a report."""
