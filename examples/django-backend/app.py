"""A backend in Django, in one file: a middleware for all views, and a decorator for one that demands more.

SUPABASE_URL=https://abcdefgh.supabase.co python examples/django-backend/app.py runserver --noreload 5003
"""

import os
import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from velro_auth_client.django import DjangoGuard

auth = DjangoGuard(os.environ["SUPABASE_URL"])
protect = auth.protect(public_paths=["/health"])

settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    MIDDLEWARE=[f"{__name__}.protect"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("DJANGO_SECRET_KEY", ""),
)


def me(request: HttpRequest) -> JsonResponse:
    """Any user."""
    user = request.velro_user
    return JsonResponse({"id": user.id, "email": user.email, "role": user.role})


@auth.require_user(role=("admin", "editor"))
def reports(_request: HttpRequest) -> JsonResponse:
    """Users with one of the roles."""
    return JsonResponse({"reports": ["first quarter"]})


def health(_request: HttpRequest) -> JsonResponse:
    """Everybody."""
    return JsonResponse({"status": "ok"})


urlpatterns = [path("me", me), path("reports", reports), path("health", health)]
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
