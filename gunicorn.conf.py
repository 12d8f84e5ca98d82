"""How gunicorn runs this service from a checkout: as the installed package does."""

from velro_auth.server.gunicorn_conf import *  # noqa: F403 - every global is a setting of gunicorn
