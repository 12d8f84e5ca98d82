"""What gunicorn serves: ``gunicorn wsgi:app`` reads ``gunicorn.conf.py`` beside it."""

from velro_auth.app import create_app
from velro_auth.config.settings import Settings

app = create_app(Settings.from_environment())
