"""The recorded cases: what Supabase Auth answered on the wire, asked of the stand-in."""
