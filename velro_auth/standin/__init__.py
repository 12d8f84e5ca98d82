"""A local Supabase for laptops and tests: real PostgreSQL, Auth, and the one table of the data API."""

from velro_auth.standin.config import RateLimit, StandinConfig
from velro_auth.standin.faults import Faults, Switch
from velro_auth.standin.postgres import Postgres
from velro_auth.standin.problems import PostgresError, StandinError
from velro_auth.standin.standin import Standin
from velro_auth.standin.wire import Received, RequestLog

__all__ = [
    "Faults",
    "Postgres",
    "PostgresError",
    "RateLimit",
    "Received",
    "RequestLog",
    "Standin",
    "StandinConfig",
    "StandinError",
    "Switch",
]
