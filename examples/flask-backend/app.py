"""A backend in Flask whose views know their user.

SUPABASE_URL=https://abcdefgh.supabase.co flask --app examples/flask-backend/app run --port 5001
"""

import os

from flask import Flask
from velro_auth_client.flask import FlaskGuard

app = Flask(__name__)
auth = FlaskGuard(os.environ["SUPABASE_URL"])


@app.get("/me")
@auth.require_user()
def me() -> dict[str, str | None]:
    """Any user."""
    user = auth.current_user()
    return {"id": user.id, "email": user.email, "role": user.role}


@app.get("/reports")
@auth.require_user(role=("admin", "editor"))
def reports() -> dict[str, list[str]]:
    """Users with one of the roles."""
    return {"reports": ["first quarter"]}


@app.get("/health")
def health() -> dict[str, str]:
    """Everybody."""
    return {"status": "ok"}
