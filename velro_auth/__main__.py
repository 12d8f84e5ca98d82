"""``python -m velro_auth …`` is ``velro-auth …``."""

from velro_auth.ops.cli import main

main()
