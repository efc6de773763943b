"""The documentation site in a browser, opened as files: its diagrams, its search, its requests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts/site/node_modules"
DEADLINE = 240_000  # ms; a bound for failures

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not SCRIPTS.exists(), reason="no npm packages: make docs installs them"),
]


@pytest.fixture(scope="module")
def documentation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documentation") / "site"
    subprocess.run([sys.executable, str(ROOT / "scripts/build-site"), str(folder)], check=True)
    return folder


@pytest.fixture
def reader(browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    """A page, and the addresses that it asks other hosts for."""
    with browser.new_context() as context:
        page, asked = context.new_page(), []
        page.set_default_timeout(DEADLINE)
        page.on("request", lambda request: asked.append(request.url))
        yield page, asked


def elsewhere(asked: list[str]) -> list[str]:
    return [each for each in asked if not each.startswith(("file:", "data:", "blob:"))]


@pytest.mark.parametrize("name", ["protocol", "recovery", "internals"])
def test_diagrams_are_drawn_without_another_host(
    documentation: Path, reader: tuple[Page, list[str]], name: str
) -> None:
    page, asked = reader
    written = (ROOT / f"docs/{name}.md").read_text(encoding="utf-8").count("```mermaid")
    page.goto((documentation / f"{name}.html").as_uri())
    expect(page.locator("pre.diagram svg")).to_have_count(written, timeout=DEADLINE)
    assert page.locator("pre.diagram .error-text").count() == 0
    assert len(asked) > 3 and elsewhere(asked) == []


def test_search_finds_a_page_without_another_host(
    documentation: Path, reader: tuple[Page, list[str]]
) -> None:
    page, asked = reader
    page.goto((documentation / "index.html").as_uri())
    page.keyboard.press("Control+k")
    page.keyboard.type("static-auth-secret")
    found = page.locator("a[href*='turn_credentials.py.html']").first
    expect(found).to_be_visible(timeout=DEADLINE)
    assert elsewhere(asked) == []
