"""``/auth/v1/*``: the same services in Supabase's wire format, for Supabase's own clients.

* ``routes``: the one table of what is answered, and by which handler.
* ``refusals``: the one table from our errors to Supabase's.
* ``client_keys``: whose calls are taken.
* ``asked``: what a handler sees of a request.
* ``tokens``, ``mails``, ``users``, ``passed``: the handlers. They translate; the rules are in ``auth`` and ``guards``.
"""
