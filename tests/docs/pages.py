"""The documents, and the fenced blocks in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted(ROOT.glob("docs/*.md")),
    *(ROOT / name for name in ("examples/README.md", "benchmarks/README.md")),
]


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    #: The example of which it is an excerpt, as ``<!-- examples/x.py -->`` before it says.
    example: str = ""

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    found, language, start, lines = [], None, 0, []
    example, before = "", ""
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = re.match(r" *```(\S*)", line)
        if fence and language is None:
            language, start, lines = fence[1], number, []
            named = re.fullmatch(r"<!-- (examples/\S+) -->", before)
            example = named[1] if named else ""
        elif fence:
            text = dedent("\n".join(lines) + "\n")
            found.append(Block(page, start, str(language), text, example))
            language = None
        elif language is not None:
            lines.append(line)
        before = line
    assert language is None, f"{page}: the block of line {start} has no end"
    return found


BLOCKS = [block for page in PAGES for block in blocks(page)]
