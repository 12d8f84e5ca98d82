"""velro-auth: a login gateway in front of Supabase Auth."""

__version__ = "0.1.0"
