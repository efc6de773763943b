"""The documentation site: it has all documents, its links lead somewhere, it asks no other host."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tests.docs.pages import PAGES, ROOT

SCRIPT = ROOT / "scripts/build-site"
BUILD: dict[str, Any] = runpy.run_path(str(SCRIPT), run_name="read")

#: Elements that make a browser fetch something, and the attribute that says what.
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


@dataclass
class Html(HTMLParser):
    """The ids, the links and the text of a page, and what a browser fetches for it."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    #: Without code.
    text: list[str] = field(default_factory=list)
    code: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given.get("id", "")}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if FETCHED.get(tag) in given:
            self.fetched.append(given[FETCHED[tag]])
        self.code += tag in ("code", "script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.code -= tag in ("code", "script", "style")

    def handle_data(self, data: str) -> None:
        if not self.code:
            self.text.append(data)


@dataclass(frozen=True)
class Site:
    folder: Path
    pages: dict[Path, Html]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site") / "built"
    command = [sys.executable, str(SCRIPT), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {}
    for page in folder.rglob("*.html"):
        pages[page] = Html()
        pages[page].feed(page.read_text(encoding="utf-8"))
    return Site(folder, pages)


def test_each_document_and_example_has_a_page(site: Site) -> None:
    examples = [f"examples/{each.name}" for each in BUILD["examples"]()]
    documents = [str(page.relative_to(ROOT)) for page in PAGES]
    assert len(examples) > 20 and len(documents) > 15
    for source in [*documents, *examples]:
        page = site.folder / BUILD["site_path"](source)
        assert page.with_suffix(".html") in site.pages, source


def test_the_navigation_leads_to_each_document(site: Site) -> None:
    front = set(site.pages[site.folder / "index.html"].links)
    for page in PAGES:
        path = Path(BUILD["site_path"](str(page.relative_to(ROOT))))
        assert str(path.with_suffix(".html")) in front or path.name == "index.md", path


def test_each_link_and_each_anchor_leads_somewhere(site: Site) -> None:
    checked, dead = 0, []
    for page, html in site.pages.items():
        if page.name == "404.html":  # its links begin at the root of a server
            continue
        for link in html.links + html.fetched:
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = unquote(link).partition("#")
            target = (page.parent / path).resolve() if path else page
            known = site.pages[target].ids if target in site.pages else set()
            checked += 1
            if not target.is_file() or (anchor and anchor not in known):
                dead.append(f"{page.relative_to(site.folder)}: {link}")
    assert checked > 2000
    assert dead == []


def test_the_pages_ask_no_other_host_for_anything(site: Site) -> None:
    for page, html in site.pages.items():
        assert [each for each in html.fetched if re.match(r"[a-z]+:|//", each)] == [], page
    for sheet in site.folder.rglob("*.css"):
        found = re.findall(r"(?:url\(|@import\s*)[\"']?((?:https?:)?//[^\"')]+)", sheet.read_text())
        assert found == [], sheet


def test_no_markdown_is_left_in_the_pages(site: Site) -> None:
    """What a forge and the site's generator read differently."""
    left = re.compile(r"```|\]\(|\*\*|^\s*[-*] |^\s*\d+\. |\|.*\||`", re.MULTILINE)
    for page, html in site.pages.items():
        assert [each for each in html.text if left.search(each)] == [], page


def test_search_knows_each_page(site: Site) -> None:
    index = (site.folder / "search.js").read_text(encoding="utf-8")
    for page in ("getting-started.html", "reference.html", "examples/minimal.py.html"):
        assert f'"{page}' in index, page


def test_a_dead_link_is_an_error(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs", "examples", "benchmarks"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).symlink_to(ROOT / name)
    (tree / "scripts").mkdir()
    (tree / "scripts/site").symlink_to(ROOT / "scripts/site")
    (tree / "scripts/build-site").write_text(SCRIPT.read_text())
    (tree / "README.md").unlink()
    (tree / "README.md").write_text("# Front\n\n[nowhere](docs/nothing.md)\n")
    command = [sys.executable, str(tree / "scripts/build-site"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "page does not exist" in done.stdout + done.stderr
    assert not (tmp_path / "out").exists()


def test_lines_of_list_items_are_indented_as_the_generator_wants_them() -> None:
    given = "1. a\n\n   ```sh\n   - b\n   ```\n2. c\n   d\n   - e\n     f\n\ng\n"
    wanted = "1. a\n\n    ```sh\n    - b\n    ```\n2. c\n    d\n    - e\n        f\n\ng\n"
    assert BUILD["indented"](given) == wanted


def test_links_lead_from_page_to_page_of_the_site() -> None:
    link = BUILD["linked"]
    text = "[a](../examples/nginx.conf) `[b](../c.md)` [d](https://d.example) [e](#e)"
    shown = "[a](examples/nginx.conf.md) `[b](../c.md)` [d](https://d.example) [e](#e)"
    assert link("docs/deployment.md", text) == shown
    assert link("README.md", "[a](docs/api.md#x)") == "[a](api.md#x)"
    assert link("examples/README.md", "[a](minimal.py)") == "[a](minimal.py.md)"
    assert link("examples/README.md", "[a](../docs/api.md)") == "[a](../api.md)"
