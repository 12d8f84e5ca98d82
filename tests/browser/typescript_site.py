"""A site for the TypeScript client: a gateway, pages on an origin of their own, and a browser with tabs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import BrowserContext, Page, Request, expect

from supabase_standin import Standin
from tests.browser.pages import pages_of
from tests.contract.face_lab import face_of
from tests.fixtures.programs import free_port
from tests.fixtures.standin import PASSWORD, new_email

#: A page that makes a client, and notes what happens to its session.
INDEX: Final = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>loading</title></head><body>
<script type="module">
import { createAuth } from "/dist/index.js";
window.events = [];
window.auth = createAuth({ url: "GATEWAY", mode: "MODE" });
for (const name of ["signed-in", "refreshed", "signed-out"]) auth.on(name, () => events.push(name));
document.title = "ready";
</script></body></html>
"""


@dataclass(frozen=True)
class Place:
    """A gateway, and the pages that call it.

    Attributes:
        project: The project behind the gateway.
        gateway: The gateway's address.
        page: The address of the pages.
    """

    project: Standin
    gateway: str
    page: str


@contextlib.contextmanager
def place_of(project: Standin, package: Path, folder: Path, mode: str) -> Iterator[Place]:
    """Run a gateway and its pages: those of token mode on another site, those of cookie mode on the same one."""
    port = free_port()
    gateway = f"http://localhost:{port}"
    (folder / "index.html").write_text(INDEX.replace("GATEWAY", gateway).replace("MODE", mode), "utf-8")
    for part in ("dist", "test"):
        (folder / part).symlink_to(package / part)
    with pages_of(folder) as pages:
        page = f"http://{'localhost' if mode == 'cookie' else '127.0.0.1'}:{pages}"
        environment = {
            "AUTH_PUBLIC_URL": gateway,
            "AUTH_REDIRECT_URLS": page,
            "AUTH_COOKIE_SESSIONS": "1" if mode == "cookie" else "0",
            "CORS_ORIGINS": page,
        }
        with face_of(project, port=port, **environment):
            yield Place(project, gateway, page)


@dataclass
class Site:
    """A place as one person's browser sees it.

    Attributes:
        place: The gateway and its pages.
        context: The browser.
        refreshes: The refreshes that the pages asked for.
    """

    place: Place
    context: BrowserContext
    refreshes: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context.on("request", self._note)

    def _note(self, request: Request) -> None:
        if request.method == "POST" and request.url.endswith("/auth/refresh"):
            self.refreshes.append(request)

    def open(self) -> Page:
        """Open the page in a new tab."""
        tab = self.context.new_page()
        tab.goto(f"{self.place.page}/")
        expect(tab).to_have_title("ready")
        return tab

    def log_in(self, tab: Page) -> str:
        """Log a new user in; return the address."""
        email = new_email()
        self.place.project.create_user(email, PASSWORD)
        tab.evaluate("async body => (await auth.login(body)).user.email", {"email": email, "password": PASSWORD})
        return email


def who(tab: Page) -> Any:
    """Return the address of the page's user, as the gateway says."""
    return tab.evaluate("async () => (await auth.me()).email")


def saw(tab: Page, *names: str) -> None:
    """Wait until the page has seen these events, and claim that it has seen no others."""
    tab.wait_for_function("count => events.length >= count", arg=len(names))
    assert tab.evaluate("events") == list(names), json.dumps(names)
