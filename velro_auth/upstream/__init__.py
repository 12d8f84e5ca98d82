"""Everything that talks to Supabase, and the one table that turns its answers into our errors."""
