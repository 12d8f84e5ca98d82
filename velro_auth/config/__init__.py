"""Settings: where they come from, what they may be, and how a running service takes new ones."""
