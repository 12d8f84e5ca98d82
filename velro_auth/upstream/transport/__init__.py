"""The connections to Supabase: deadlines, idle connections, keep-warm."""
