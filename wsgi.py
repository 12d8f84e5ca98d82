"""What gunicorn serves from a checkout: ``gunicorn wsgi:app`` reads ``gunicorn.conf.py`` beside it."""

from velro_auth.app import from_environment

app = from_environment()
