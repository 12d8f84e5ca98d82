"""A local Supabase for laptops and tests: real PostgreSQL, Auth, and the one table of the data API."""

from supabase_standin.config import RateLimit, StandinConfig
from supabase_standin.faults import Faults, Switch
from supabase_standin.postgres import Postgres
from supabase_standin.problems import PostgresError, StandinError
from supabase_standin.standin import Standin
from supabase_standin.wire import Received, RequestLog

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
