"""``python -m velro_auth …`` is ``velro-auth …``."""

from velro_auth.cli import main

main()
