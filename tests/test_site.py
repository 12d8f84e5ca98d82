"""The documentation site: built with warnings as errors, every link checked, nothing from another server."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tools.site import ROOT, TOP_PAGES, BuildFailed, build, in_navigation, prepare

#: Attributes that make a browser load something at once.
LOADS = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src"), ("video", "src")}


class Page(HTMLParser):
    """The addresses and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if found := given.get("id"):
            self.anchors.add(found)
        for name, value in attrs:
            if value and (tag, name) in LOADS and given.get("rel") != "canonical":
                self.loads.append(value)
            if value and (tag, name) == ("a", "href"):
                self.links.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("zensical") is None:
        assert "CI" not in os.environ, "zensical is missing: make setup"
        pytest.skip("zensical is not installed: make setup")
    out = tmp_path_factory.mktemp("site") / "site"
    build(out)
    return out


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text("utf-8")) for path in site.rglob("*.html")}


def broken(pages: dict[Path, Page], site: Path) -> Iterator[str]:
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            goal = (site / parts.path.lstrip("/")) if parts.path.startswith("/") else path.parent / unquote(parts.path)
            goal = path if not parts.path else goal.resolve()
            goal = goal / "index.html" if goal.is_dir() else goal
            anchors = pages[goal].anchors if goal in pages else set()
            if not goal.is_file() or (goal in pages and parts.fragment and unquote(parts.fragment) not in anchors):
                yield f"{path.relative_to(site)}: {link}"


def test_every_link_leads_to_a_page_and_a_section(pages: dict[Path, Page], site: Path) -> None:
    assert list(broken(pages, site)) == []
    assert sum(len(page.links) for page in pages.values()) > 1000


def test_nothing_is_loaded_from_another_server(pages: dict[Path, Page], site: Path) -> None:
    loaded = {load for page in pages.values() for load in page.loads}
    styles = "".join(path.read_text("utf-8") for path in site.rglob("*.css"))

    assert loaded
    assert {load for load in loaded if urlsplit(load).netloc} == set()
    assert re.findall(r"url\(['\"]?(?:https?:)?//[^)]*\)|@import[^;]*//[^;]*", styles) == []


def test_every_page_can_be_found_by_search(site: Path) -> None:
    index = (site / "search.json").read_text("utf-8")

    assert "AUTH_FAILURE_FLOOR_MS" in index
    assert "project/files/" not in index, "files that a page links to are shown, not searched"


def test_every_page_is_in_the_navigation_and_every_entry_is_a_page() -> None:
    """The builder leaves out what it does not find, without a word."""
    docs = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}

    assert in_navigation(ROOT / "mkdocs.yml") == docs | set(TOP_PAGES.values())
    assert [name for name in TOP_PAGES if not (ROOT / name).is_file()] == []


def checkout(folder: Path, **pages: str) -> Path:
    (folder / "mkdocs.yml").write_text("site_name: x\nvalidation: {invalid_links: true, invalid_link_anchors: true}\n")
    for name, text in {"docs/index.md": "# Home\n", **pages}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder


def test_links_that_leave_the_folder_stay_inside_the_site(tmp_path: Path) -> None:
    links = "[a](../../README.md#b) [b](../../deploy) [c](https://d.example/) [d](../index.md)"
    text = f"{links}\n```\n[e](../../deploy)\n```\n"
    pages = {"docs/how-to/a.md": text, "README.md": "[docs](docs/index.md)", "deploy/x.yml": "a: 1\n"}
    root = checkout(tmp_path, **pages)

    prepare(tmp_path / "out", root=root)

    docs = tmp_path / "out" / "docs"
    assert (docs / "how-to/a.md").read_text("utf-8") == (
        "[a](../project/readme-page.md#b) [b](../project/files/deploy.md) [c](https://d.example/) [d](../index.md)\n"
        "```\n[e](../../deploy)\n```\n"
    )
    assert (docs / "project/readme-page.md").read_text("utf-8") == "[docs](../index.md)"
    assert "[x.yml](deploy/x.yml.md)" in (docs / "project/files/deploy.md").read_text("utf-8")
    assert "````yaml\na: 1\n````\n" in (docs / "project/files/deploy/x.yml.md").read_text("utf-8")


@pytest.mark.parametrize("wrong", ["[a](nowhere.md)", "[a](index.md#no-such-section)"])
def test_a_broken_link_fails_the_build(tmp_path: Path, wrong: str) -> None:
    if importlib.util.find_spec("zensical") is None:
        pytest.skip("zensical is not installed: make setup")
    root = checkout(tmp_path, **{"docs/other.md": wrong + "\n"})

    with pytest.raises(BuildFailed, match="does not exist"):
        build(tmp_path / "out", root=root)

    assert not (tmp_path / "out").exists()
