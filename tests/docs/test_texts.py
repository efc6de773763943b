"""`scripts/list-texts` finds what users read; hard sentences are gone from it and the documents."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import pytest

from tests.docs.pages import PAGES, ROOT

SCRIPT = ROOT / "scripts/list-texts"
READ: dict[str, Any] = runpy.run_path(str(SCRIPT), run_name="read")

#: Sentences and words that readers whose first language is not English could not read at once.
GONE = (
    "already ignores it",
    "a client that means well",
    "means ill",
    "can't be meant",
    "or in their way",
    "not in the way",
    "nobody's business",
    "what else they lack",
    "one that goes by cookies",
    "The line to the server is lost",
    "all the same",
    "ghost",
    "on the spot",
    "out of touch",
    "gets through",
    "hears nothing",
    "taken it for dead",
    "for want of",
    "entries to Server() themselves",
    "over handler(",
    "runs on threads: it works alone",
    "takes that of the first",
    "2 and 8 say",
)


def texts(found: Iterable[Any]) -> list[str]:
    return [each.text for each in found]


@cache
def printed() -> str:
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=True)
    return done.stdout


def test_it_finds_strings_of_python_and_no_docstrings() -> None:
    of_python: Callable[[str], Iterable[Any]] = READ["of_python"]
    source = '''
"""A docstring of a module."""
def f(x: "str | None") -> None:
    """A docstring of a function."""
    log.warning("worker %s "
                "is gone", x)
    raise OptionError(f"give {x!r} or none of them")
    return [b"Not Found", "plain", "a\\r\\nb"]
'''
    found = list(of_python(source))
    assert texts(found) == ["worker %s is gone", "give {…} or none of them", "Not Found"]
    calls = [(each.line, each.call) for each in found]
    assert calls[:2] == [(5, "log.warning"), (7, "OptionError")]


def test_it_finds_the_words_of_a_template(tmp_path: Any) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        '<script>not read</script><p class="not read">Join\n  now</p><a title="Leave it">x</a>'
    )
    assert texts(READ["of_file"](page)) == ["Join now", "Leave it"]


def test_it_finds_the_strings_of_a_script() -> None:
    source = '''// "not this one"
say(`${name} has left.`, "Leave", "camelCase", 'two words'); /* 'nor this' */
'''
    assert texts(READ["of_script"](source)) == ["${name} has left.", "Leave", "two words"]


@pytest.mark.parametrize(
    "text",
    [
        "Port to listen on; 0: any free port.",  # the command
        "this process is not monkey-patched",  # a log line
        "Unable to connect",  # an answer to a client
        "Too many connections from this address",  # an answer to an HTTP request
        "Nobody sees or hears you before you press Join.",  # the page
        "Your camera is off.",  # its script
        "give True or False",  # an error
        "A signaling server runs here",  # the page of listen()
    ],
)
def test_its_list_has_each_kind_of_text(text: str) -> None:
    assert text in printed()


@pytest.mark.parametrize("gone", GONE)
def test_what_readers_stumbled_over_is_gone(gone: str) -> None:
    pages = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
    pages |= {"scripts/list-texts": printed()}
    pattern = re.compile(r"\b" + re.escape(gone).replace(r"\ ", r"\s+"), re.IGNORECASE)
    assert [name for name, text in pages.items() if pattern.search(text)] == []
