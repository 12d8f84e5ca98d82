"""What can keep the stand-in from starting, each as one clear sentence."""


class StandinError(Exception):
    """The stand-in cannot start or go on; the message says what to do."""


class PostgresError(StandinError):
    """PostgreSQL cannot be started; the message says what to do."""
