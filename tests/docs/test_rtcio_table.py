"""The table of rtc.io's pages in docs/coming-from-node.md: each page, each snippet, each test."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT


def rows() -> list[tuple[str, str, str, str]]:
    page = (ROOT / "docs/coming-from-node.md").read_text()
    _, _, section = page.partition("\n## The pages of rtc.io's documentation\n")
    section = section.partition("\n## ")[0]
    return re.findall(r"^\| ([^|]*) \| ([^|]*) \| ([^|]*) \| ([^|]*) \|$", section, re.M)[1:]


#: The server pages and the tutorial, as their menu has them.
PAGES = [
    *("Overview", "Installation", "Quickstart", "Public server", "Signaling protocol"),
    *("Rooms & presence", "Customization", "Deployment", "CORS", "Scaling"),
    *("Tutorial 1: server", "Tutorial 2: client", "Tutorial 3: streams", "Tutorial 4: chat"),
    *("Tutorial 5: files", "Tutorial 6: deploy"),
]


def test_each_page_is_in_the_table() -> None:
    assert list(dict.fromkeys(page for page, *_ in rows())) == PAGES


def test_each_snippet_has_a_form_and_a_test_or_a_reason() -> None:
    tests = {
        name
        for file in ROOT.glob("tests/**/test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", file.read_text(), re.M)
    }
    for page, snippet, here, test in rows():
        assert snippet and here, (page, snippet)
        if test == "none":
            assert len(here) > 20, f"{page}, {snippet}: say why there is nothing to test"
            continue
        names = re.findall(r"`(\w+)`", test)
        assert names and set(names) <= tests, (page, snippet, test)


def test_each_ported_snippet_is_in_the_table() -> None:
    named = {name for *_, test in rows() for name in re.findall(r"`(\w+)`", test)}
    for file in ("test_rtcio_pages.py", "test_rtcio_patterns.py"):
        text = (ROOT / "tests/docs" / file).read_text()
        assert set(re.findall(r"^def (test_\w+)\(", text, re.M)) <= named
