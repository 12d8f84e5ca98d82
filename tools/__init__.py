"""For people who work on the project: wheels and releases. Not installed."""
