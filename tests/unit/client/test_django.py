from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import django
import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path
from django.views import View
from velro_auth_client.django import DjangoGuard

from tests.fixtures.tokens import HandClock
from tests.unit.client.project import URL, Project, bearer

with contextlib.suppress(RuntimeError, ImproperlyConfigured):
    settings.configure(ALLOWED_HOSTS=["testserver"], ROOT_URLCONF=__name__, USE_TZ=True, LOGGING_CONFIG=None)
    django.setup()

#: What ``settings.MIDDLEWARE`` names; each test brings its own guard.
protect: Callable[[Any], Any]


@pytest.fixture
def guard(project: Project, clock: HandClock) -> Iterator[DjangoGuard]:
    guard = DjangoGuard(URL, fetch=project, clock=clock, now=clock)
    yield guard
    guard.close()


def me(request: Any) -> HttpResponse:
    return JsonResponse({"email": request.velro_user.email})


async def me_later(request: Any) -> HttpResponse:
    return JsonResponse({"email": request.velro_user.email})


def health(request: HttpRequest) -> HttpResponse:
    return HttpResponse("well")


urlpatterns: list[Any] = [path("me", me), path("later", me_later), path("health", health)]


@pytest.fixture
def urls(guard: DjangoGuard) -> ModuleType:
    """Views that are decorated one by one."""
    urls = ModuleType("urls")
    patterns: list[Any] = [
        path("me", guard.require_user()(me)),
        path("later", guard.require_user()(me_later)),
        path("reports", guard.require_user(role=("admin", "editor"), aal="aal2")(me)),
    ]
    vars(urls)["urlpatterns"] = patterns
    return urls


@pytest.fixture
def ask(urls: ModuleType) -> Iterator[Callable[..., Any]]:
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]):
        yield lambda where, headers=None: Client().get(f"/{where}", headers=headers)


def test_a_view_gets_its_user(ask: Callable[..., Any]) -> None:
    for where in ("me", "later"):
        answer = ask(where, bearer())

        assert (answer.status_code, answer.json()) == (200, {"email": "ada@example.com"})


def test_a_view_without_a_token_is_not_reached(ask: Callable[..., Any]) -> None:
    for where in ("me", "later"):
        answer = ask(where, {"X-Request-ID": "abc"})

        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="velro-auth"'
        assert (answer.json()["code"], answer.json()["request_id"]) == ("token_missing", "abc")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"user_role": "viewer", "aal": "aal2"}, 403, "forbidden"),
        ({"user_role": "editor", "aal": "aal1"}, 403, "insufficient_aal"),
        ({"exp": 1}, 401, "token_expired"),
        ({"iss": "https://elsewhere.example"}, 401, "token_invalid"),
    ],
)
def test_a_view_demands_role_and_level(
    ask: Callable[..., Any], changes: dict[str, Any], status: int, code: str
) -> None:
    answer = ask("reports", bearer(**changes))

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert ask("reports", bearer(user_role="editor", aal="aal2")).status_code == 200


def test_keys_that_cannot_be_fetched_are_no_reason_to_log_out(ask: Callable[..., Any], project: Project) -> None:
    project.is_down = True

    answer = ask("me", bearer())

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


@pytest.fixture
def protected(guard: DjangoGuard, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A project whose every view is protected, but for one path."""
    monkeypatch.setattr(sys.modules[__name__], "protect", guard.protect(public_paths=["/health"]), raising=False)
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[f"{__name__}.protect"]):
        yield


@pytest.mark.usefixtures("protected")
def test_a_middleware_protects_every_view_but_the_public_ones() -> None:
    client = Client()

    assert client.get("/me", headers=bearer()).json() == {"email": "ada@example.com"}
    assert client.get("/later").status_code == 401
    assert client.get("/nowhere").status_code == 401
    assert client.get("/health").content == b"well"
    assert client.get("/health/").status_code == 401
    # A view answers every method, so none passes.
    assert client.options("/me").status_code == 401


@pytest.mark.usefixtures("protected")
def test_a_middleware_runs_under_asgi() -> None:
    async def ask() -> list[int]:
        client = AsyncClient()
        answers = [await client.get(f"/{name}", headers=bearer()) for name in ("me", "later")]
        return [answer.status_code for answer in (*answers, await client.get("/later"))]

    assert asyncio.run(ask()) == [200, 200, 401]


def test_the_settings_may_name_the_middleware_alone(project: Project, clock: HandClock) -> None:
    options = {"supabase_url": URL, "fetch": project, "clock": clock, "now": clock, "public_paths": ["/health"]}
    middleware = ["velro_auth_client.django.middleware"]
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=middleware, VELRO_AUTH={**options, "role": "admin"}):
        client = Client()

        assert client.get("/me", headers=bearer(user_role="viewer")).status_code == 403
        assert client.get("/me", headers=bearer(user_role="admin")).status_code == 200
        assert client.get("/health").status_code == 200


def test_a_level_that_does_not_exist_is_a_mistake_at_the_start(guard: DjangoGuard) -> None:
    with pytest.raises(ValueError, match="aal4"):
        guard.protect(aal="aal4")


class LaterView(View):  # type: ignore[misc] # Django has no types of its own
    """An async view made of a class, which Django marks as async in its own way."""

    async def get(self, request: Any) -> HttpResponse:
        return JsonResponse({"email": request.velro_user.email})


def test_a_view_made_of_a_class_may_be_async(guard: DjangoGuard) -> None:
    urls = ModuleType("urls")
    vars(urls)["urlpatterns"] = [path("class", guard.require_user()(LaterView.as_view()))]

    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]):
        assert Client().get("/class", headers=bearer()).status_code == 200
        assert Client().get("/class").status_code == 401
