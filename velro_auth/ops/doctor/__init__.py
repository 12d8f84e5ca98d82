"""Looks at everything a login depends on, says what is wrong, why it matters and how to mend it."""
