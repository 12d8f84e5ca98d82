"""Measuring logins as a user meets them: load from an open loop, honest percentiles, a file to compare with later."""
