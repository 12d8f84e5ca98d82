"""What is measured: a function each, from a setting to a ``Measure``."""
