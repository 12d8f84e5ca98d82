"""The index page of a real ``velro-auth dev``, in Chromium, as somebody sees it who starts for the first time."""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.fixtures.axe import violations
from tests.fixtures.programs import Program, free_port, program
from tests.fixtures.standin import fast_place, temporary_folder
from tests.waiting import PATIENCE_S, eventually

#: A folder for screenshots; by default none is made.
SCREENSHOTS = os.environ.get("VELRO_SCREENSHOTS")

PATIENCE_MS = PATIENCE_S * 1000


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A running ``velro-auth dev``."""
    # The account that PostgreSQL runs as has to reach the data.
    with temporary_folder(fast_place()) as place:
        command = ["-m", "velro_auth", "dev", "--port", str(port := free_port()), "--data-dir", f"{place}/data"]
        with program(command, tmp_path_factory.mktemp("dev") / "log") as running:
            running.wait_for("Stop with Ctrl-C.")
            running.url = f"http://localhost:{port}"
            yield running


@pytest.fixture
def problems(page: Page) -> list[str]:
    """What must not happen on the page: an exception, a file from elsewhere, something that the policy refused."""
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("console", lambda message: found.append(message.text) if "Security" in message.text else None)
    page.on("request", lambda request: None if "//localhost:" in request.url else found.append(request.url))
    page.add_init_script(
        "window.refused = []; addEventListener('securitypolicyviolation', (event) => refused.push(event.blockedURI))"
    )
    return found


def press(page: Page, what: str) -> str:
    """Press the button of that name, wait until it is done, and return what the page says."""
    button = page.get_by_role("button", name=what, exact=True)
    button.click()
    expect(button).not_to_have_attribute("aria-busy", "true", timeout=PATIENCE_MS)
    # Pressed with the keyboard, it must not lose the focus.
    expect(button).to_be_focused()
    return page.locator("#summary").inner_text()


def bars(page: Page) -> dict[str, tuple[float, float]]:
    """Return the bars of the waterfall: name → where each begins and ends, as shares of the axis."""
    script = """
    () => [...document.querySelectorAll(".waterfall tbody tr")].map((row) => {
      const [track, bar] = [".track", ".bar"].map((name) => row.querySelector(name).getBoundingClientRect());
      return [row.cells[0].innerText, (bar.left - track.left) / track.width, (bar.right - track.left) / track.width];
    })
    """
    return {name: (start, end) for name, start, end in page.evaluate(script)}


def figure(page: Page, name: str) -> str:
    return page.locator(f"[data-figure={name}]").inner_text()


def drawn(page: Page) -> list[int]:
    """Return how many pixels each live plot has drawn in the colours of its lines."""
    script = """
    () => [...document.querySelectorAll("figure.plot")].map(({ plot }) => {
      const { canvas } = plot.ctx;
      const pixels = plot.ctx.getImageData(0, 0, canvas.width, canvas.height).data;
      const probe = document.createElement("canvas").getContext("2d");
      const wanted = plot.series.slice(1).map((series) => {
        probe.fillStyle = series.stroke(); probe.fillRect(0, 0, 1, 1);
        return [...probe.getImageData(0, 0, 1, 1).data].join();
      });
      let found = 0;
      for (let i = 0; i < pixels.length; i += 4) found += wanted.includes(pixels.slice(i, i + 4).join());
      return found;
    })
    """
    found: list[int] = page.evaluate(script)
    return found


def test_every_button_shows_what_it_did(dev: Program, page: Page, problems: list[str]) -> None:
    page.set_viewport_size({"width": 1120, "height": 860})
    page.goto(dev.url)

    assert press(page, "Right password").startswith("200. A session, in a cookie that no script can read.")
    body = json.loads(page.locator("#body").inner_text().partition("\n")[2])
    assert body["user"]["email"] == "demo@example.com"
    assert not [name for name in body if "token" in name]
    assert "POST /api/v1/auth/login" in page.locator("#request").inner_text()
    fields = page.locator("#headers").inner_text()
    for field in ("server-timing: total;dur=", "x-fastlane-time-ms: ", "x-request-id: "):
        assert field in fields
    shown = bars(page)
    assert list(shown) == ["browser", "total", "fast lane", "upstream"]
    # Each part is within the one above it.
    order = list(shown.values())
    for (start, end), (outer_start, outer_end) in zip(order[1:], order, strict=False):
        assert outer_start - 0.01 <= start < end <= outer_end + 0.01
    assert order[0][0] == 0

    assert press(page, "Wrong password").startswith("401 invalid_credentials. ")
    # Nothing on the page tells more than the answer does.
    assert list(bars(page)) == ["browser", "total", "fast lane"]

    said = press(page, "Many guesses")
    assert said.startswith("429 too_many_attempts after 5 guesses. ")
    assert "Try again after 30 s." in said
    shown = bars(page)
    assert list(shown)[:5] == [f"guess {number}: 401" for number in range(1, 6)]
    starts = [shown[f"guess {number}: 401"][0] for number in range(1, 6)]
    assert starts == sorted(starts)
    assert press(page, "Right password").startswith("200. ")

    fault = page.locator("#fault")
    for button, answer in {
        "Supabase slow": "200. A session",
        "Supabase failing": "503 upstream_error. ",
        "Supabase down": "503 upstream_unavailable. ",
    }.items():
        assert press(page, button).startswith(answer)
        expect(fault).to_contain_text(f"{button.replace('failing', 'fails').replace('Supabase ', '')}")
        expect(fault).to_contain_text("on purpose")
        page.get_by_role("button", name="Undo").click()
        expect(fault).to_be_hidden(timeout=PATIENCE_MS)
    assert press(page, "Right password").startswith("200. ")
    assert figure(page, "failed") == "2"
    assert "pair" in figure(page, "throttled")

    assert page.evaluate("refused") == problems == []


def test_a_token_is_shortened(dev: Program, page: Page) -> None:
    """With ``AUTH_PAGES=0`` the answer has tokens. On a screenshot one would be one too many."""
    token = "header." + "x" * 800
    page.route("**/api/v1/auth/login", lambda route: route.fulfill(json={"access_token": token, "expires_in": 3600}))
    page.goto(dev.url)

    assert press(page, "Right password").startswith("200. A session. ")
    body = json.loads(page.locator("#body").inner_text().partition("\n")[2])
    assert body == {"access_token": f"{token[:24]}… (807 characters)", "expires_in": 3600}


def test_the_live_panel_goes_on_by_itself(dev: Program, page: Page, problems: list[str]) -> None:
    page.goto(dev.url)
    before = page.evaluate("fetch('/dev/state').then((answer) => answer.json())")
    # From elsewhere, such as the terminal.
    page.request.post(
        f"{dev.url}/api/v1/auth/login",
        data={"email": "demo@example.com", "password": "correct-horse-battery-staple"},
    )

    expect(page.locator("[data-figure=logins]")).to_have_text(str(before["window"]["logins"] + 1), timeout=PATIENCE_MS)
    assert re.fullmatch(r"\d+ ms", figure(page, "p95"))
    assert figure(page, "breaker") == "closed"
    assert figure(page, "permits") == "0 / 24"
    eventually(lambda: all(count > 2 for count in drawn(page)), or_say=lambda: drawn(page))
    assert page.evaluate("refused") == problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(dev: Program, page: Page, problems: list[str], scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 1120, "height": 1010})
    page.goto(dev.url)
    assert violations(page) == []

    press(page, "Right password")
    press(page, "Supabase slow")
    expect(page.locator("#fault")).to_be_visible()
    assert violations(page) == []
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS) / f"dev-{scheme}.png")

    page.set_viewport_size({"width": 320, "height": 800})
    eventually(lambda: page.evaluate("document.querySelector('#rate').plot.width") < 320)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#fault")).to_be_hidden(timeout=PATIENCE_MS)
    assert page.evaluate("refused") == problems == []


def test_the_command_for_a_terminal_is_copied(dev: Program, page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(dev.url)

    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()

    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(f"curl -i {dev.url}/api/v1/auth/login \\\n  -H 'Content-Type: application/json' \\\n")
    assert copied.endswith("""-d '{"email": "demo@example.com", "password": "correct-horse-battery-staple"}'""")


@pytest.fixture
def another_page(tmp_path: Path) -> Iterator[str]:
    """A page of this machine, on another port."""
    (tmp_path / "index.html").write_text("<title>another</title>")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_a_page_of_another_port_switches_nothing(dev: Program, page: Page, another_page: str) -> None:
    """It may call the gateway (``CORS_ORIGINS`` of ``velro-auth dev``), but not what is below ``/dev/``."""
    page.goto(another_page)
    script = """
    async (url) => {
      const body = JSON.stringify({ fault: "down" });
      // Without CORS the answer is hidden from the page, but the request is sent.
      await fetch(url, { method: "POST", body, mode: "no-cors" }).catch(() => null);
      return (await fetch(url, { method: "POST", body, headers: { "Content-Type": "application/json" } })).status;
    }
    """

    assert page.evaluate(script, f"{dev.url}/dev/fault") == 403
    eventually(lambda: dev.output.count('"path": "/dev/fault", "status": 403') == 2, or_say=lambda: dev.output)

    page.goto(dev.url)
    assert page.evaluate("fetch('/dev/state').then((answer) => answer.json())")["supabase"]["fault"] is None
