"""``/docs`` in a real browser: its forms ask the service; its policy lets its own script run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from supabase_standin import Standin
from tests.fixtures.programs import gateway

EMAIL, PASSWORD = "ada@example.com", "correct horse battery staple"


def test_a_login_and_what_comes_after_it_are_tried_on_the_page(
    page: Page, standin_with: Callable[..., Standin], tmp_path: Path
) -> None:
    standin = standin_with()
    standin.create_user(EMAIL, PASSWORD)
    settings = {"SUPABASE_URL": standin.url, "SUPABASE_SECRET_KEY": standin.secret_key}
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))

    with gateway(tmp_path / "gateway.log", **settings) as running:
        page.goto(f"{running.url}/docs")
        me = page.locator("#me, #meGet").first
        me.get_by_text("Try it").click()
        me.get_by_role("button", name="Send").click()
        expect(me.locator("output")).to_contain_text("401")

        login = page.locator("#login")
        login.get_by_text("Try it").click()
        login.get_by_label("Body").fill(f'{{"email": "{EMAIL}", "password": "{PASSWORD}"}}')
        login.get_by_role("button", name="Send").click()
        expect(login.locator("output")).to_contain_text("200")
        expect(login.locator("output")).to_contain_text(f"curl -i -X POST '{running.url}/api/v1/auth/login'")
        token = page.get_by_label("Access token").input_value()

        me.get_by_role("button", name="Send").click()
        expect(me.locator("output")).to_contain_text(f'"email": "{EMAIL}"')
        expect(me.locator("output")).to_contain_text("Bearer $TOKEN")

    assert len(token.split(".")) == 3
    assert token not in me.locator("output").inner_text()
    # What a 401 writes into the console is the browser's own remark.
    assert [line for line in complaints if "401" not in line] == []


def test_a_value_of_a_path_is_sent_as_one_part_of_it(page: Page, tmp_path: Path) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    with gateway(tmp_path / "gateway.log", SUPABASE_URL="http://127.0.0.1:9", SUPABASE_SECRET_KEY="") as running:
        page.goto(f"{running.url}/docs")
        ending = page.locator('form[data-method="DELETE"][data-path$="/sessions/{session_id}"]')
        ending.locator("xpath=..").get_by_text("Try it").click()
        ending.get_by_label("session_id").fill("a b?c")
        ending.get_by_role("button", name="Send").click()
        expect(ending.locator("output")).to_contain_text("401")

    assert f"{running.url}/api/v1/auth/sessions/a%20b%3Fc" in asked


def test_nothing_scrolls_sideways_on_a_small_screen(page: Page, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 320, "height": 800})

    with gateway(tmp_path / "gateway.log", SUPABASE_URL="http://127.0.0.1:9", SUPABASE_SECRET_KEY="") as running:
        page.goto(f"{running.url}/docs")
        for closed in page.get_by_text("Try it", exact=True).all():
            closed.click()

        assert page.evaluate("document.documentElement.scrollWidth") <= 320
