"""The tutorial, done from its first line to its last: its commands as they stand there, its browser by Chromium.

``SCREENSHOTS=1 pytest tests/browser/test_tutorial.py`` renews its pictures.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.fixtures.browser import TIMEOUT_MS
from tests.fixtures.page_blocks import ROOT, Runner, blocks
from tests.fixtures.programs import clean_environment, free_port
from tests.fixtures.standin import temporary_folder
from velro_auth.ops.cli.dev import DEMO_EMAIL, DEMO_PASSWORD

PAGE = ROOT / "docs/tutorial/protect-a-page.md"
IMAGES = ROOT / "docs/img"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder as the checkout is for the reader; the local database in it can be reached by its account."""
    if shutil.which("caddy") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("caddy is not installed: make system-packages")
    with temporary_folder() as found:
        (found / "examples").symlink_to(ROOT / "examples")
        (found / ".venv").symlink_to(Path(sys.executable).parents[1])
        yield found


@pytest.mark.slow
def test_the_tutorial_leads_from_nothing_to_a_protected_page(chromium: Browser, folder: Path) -> None:
    port, site_port, admin_port = free_port(), free_port(), free_port()
    environment = clean_environment(
        PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        HOME=str(folder),
        # The Caddyfile takes both addresses from the environment where the usual ones are taken.
        SITE=f"http://localhost:{site_port}",
        VELRO_AUTH=f"127.0.0.1:{port}",
        CADDY_ADMIN=f"127.0.0.1:{admin_port}",
    )
    found = list(blocks(PAGE))
    with contextlib.ExitStack() as running:
        runner = Runner(
            folder,
            environment,
            running,
            replaced={
                r"localhost:8000\b": f"localhost:{port}",
                r"localhost:8080\b": f"localhost:{site_port}",
                # What it calls, with a port that is free.
                r"\bmake run\b": f"velro-auth dev --port {port}",
            },
        )
        for block in found:
            runner.run(block)
        context = chromium.new_context(viewport={"width": 720, "height": 560}, locale="en-GB")
        context.set_default_timeout(TIMEOUT_MS)
        _in_the_browser(context.new_page(), f"http://localhost:{site_port}")
        context.close()

    assert [str(block) for block in found if block.language in {"sh", "toml"} and block.mark is None] == []


def _in_the_browser(page: Page, site: str) -> None:
    page.goto(f"{site}/")
    page.get_by_role("link", name="For members").click()
    page.wait_for_url(re.compile(r"/login\?rd="))
    page.get_by_label("Email").or_(page.get_by_label("Mail address")).first.fill(DEMO_EMAIL)
    _picture(page, "tutorial-login")
    page.get_by_label("Password", exact=True).fill(DEMO_PASSWORD)
    page.get_by_label("Password", exact=True).press("Enter")
    page.wait_for_url(f"{site}/members/")
    expect(page.get_by_role("heading", name="For members")).to_be_visible()
    _picture(page, "tutorial-members")

    page.get_by_role("link", name="Your account").click()
    expect(page.get_by_text(DEMO_EMAIL).first).to_be_visible()
    page.get_by_role("button", name="Sign out").or_(page.get_by_role("button", name="Log out")).first.click()
    page.wait_for_url(re.compile("/login"))
    # The browser remembers the page for members, but has to ask for it again.
    page.go_back()
    page.wait_for_url(re.compile(r"/login\?rd="))
    expect(page.get_by_role("heading", name="For members")).to_have_count(0)
    page.goto(f"{site}/members/")
    page.wait_for_url(re.compile(r"/login\?rd="))


def _picture(page: Page, name: str) -> None:
    if os.environ.get("SCREENSHOTS"):
        page.screenshot(path=IMAGES / f"{name}.png")
    assert (IMAGES / f"{name}.png").is_file(), "renew the pictures with SCREENSHOTS=1"
