"""The documentation site: it builds without a complaint, asks nothing of the network, and has all that it shows."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from docs_pages import ROOT

DOCS = ROOT / "docs"
_LOADED = {
    ("img", "src"),
    ("script", "src"),
    ("link", "href"),
    ("iframe", "src"),
    ("source", "src"),
    ("video", "src"),
    ("audio", "src"),
    ("use", "href"),
    ("object", "data"),
    ("embed", "src"),
}
"""What a browser fetches without being asked; where an ``a`` leads is the reader's choice."""
_IN_CSS = re.compile(r"@import\s+(?:url\()?[\"']?([^\"')]+)|url\(\s*[\"']?([^\"')]+)")


class Fetched(HTMLParser):
    """Collects what a page fetches by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []
        self._style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._style = tag == "style"
        for name, value in attrs:
            if value and (tag, name) in _LOADED:
                self.places.append(value)
            elif value and name == "srcset":
                self.places += [part.split()[0] for part in value.split(",")]
            elif value and name == "style":
                self.places += in_css(value)

    def handle_data(self, data: str) -> None:
        if self._style:
            self.places += in_css(data)


def in_css(text: str) -> list[str]:
    """Addresses that a style sheet fetches."""
    return [first or second for first, second in _IN_CSS.findall(text)]


def outside(places: list[str]) -> list[str]:
    """Those that lie on another machine."""
    return [place for place in places if urlsplit(place).netloc]


def fetched_by(html: str) -> list[str]:
    """What a page fetches by itself."""
    page = Fetched()
    page.feed(html)
    return page.places


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as ``make docs`` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""
    return folder


def test_the_reader_of_pages_sees_what_they_fetch() -> None:
    page = '<link href="//fonts.example/a.css"><script src="x.js"></script><a href="https://b.example">b</a>'
    page += '<style>@import "https://c.example/c.css"; p {background: url(d.png)}</style>'
    assert fetched_by(page) == ["//fonts.example/a.css", "x.js", "https://c.example/c.css", "d.png"]
    assert outside(fetched_by(page)) == ["//fonts.example/a.css", "https://c.example/c.css"]


def test_pages_and_style_sheets_fetch_nothing_from_elsewhere(site: Path) -> None:
    pages, sheets = sorted(site.rglob("*.html")), sorted(site.rglob("*.css"))
    assert len(pages) > 20 and sheets
    for page in pages:
        assert outside(fetched_by(page.read_text())) == [], page.name
    for sheet in sheets:
        assert outside(in_css(sheet.read_text())) == [], sheet.name


def test_what_pages_fetch_is_there(site: Path) -> None:
    for page in sorted(site.rglob("*.html")):
        if page.name == "404.html":  # served from any place, so its addresses begin at the root of the server
            continue
        for place in fetched_by(page.read_text()):
            path = urlsplit(place).path
            assert place.startswith("data:") or (page.parent / path).exists(), f"{page.name}: {place}"


def test_the_api_has_the_contracts(site: Path) -> None:
    methods, types = ((site / "api" / f"{name}.html").read_text() for name in ("methods", "types"))
    for name in ("posesplat.methods.track.track", "posesplat.methods.pair.PairEstimator.estimate"):
        assert f'id="{name}"' in methods
    assert 'id="posesplat.geometry.poses.inverse_covariance"' in types
    assert re.search(r":(class|func|meth|data):", methods + types) is None


def test_every_public_name_is_in_the_api() -> None:
    from posesplat import _EXPORTS

    pages = "\n".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
    listed = set(re.findall(r"^::: (\S+)", pages, re.MULTILINE))
    assert {f"{module}.{name}" for name, module in _EXPORTS.items()} <= listed


def test_every_page_is_in_the_navigation() -> None:
    chosen = set(re.findall(r":\s+([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")} == chosen


def test_the_pictures_of_the_conventions_are_drawn_by_the_project(tmp_path: Path) -> None:
    found = importlib.util.spec_from_file_location("draw_conventions", DOCS / "draw_conventions.py")
    assert found is not None and found.loader is not None
    drawing = importlib.util.module_from_spec(found)
    found.loader.exec_module(drawing)
    drawing.draw(tmp_path)
    shown = set(re.findall(r"\(images/([\w.]+)\)", (DOCS / "conventions.md").read_text()))
    assert {path.name for path in tmp_path.iterdir()} == shown
    for name in shown:
        assert (tmp_path / name).read_text().startswith("<?xml")
        assert (DOCS / "images" / name).is_file()
