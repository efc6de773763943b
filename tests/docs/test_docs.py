"""What the documents say holds: their Python runs, their JavaScript parses, their links lead on."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.document import Document
from benchmarks.report import excerpt, tables
from tests.docs.pages import BLOCKS, PAGES, ROOT, Block

HARNESS = Path(__file__).parent / "snippet.py"

OF = {
    # An excerpt of an example runs where the example does: test_guides.py.
    language: [block for block in BLOCKS if block.language == language and not block.example]
    for language in ("python", "js", "mermaid")
}


@pytest.fixture(scope="module")
def snippets() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "error::UserWarning", str(HARNESS)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.parametrize("block", OF["python"], ids=str)
def test_python_runs(block: Block, tmp_path: Path, snippets: subprocess.Popen[str]) -> None:
    """In a process of its own, where a server that is to serve meets clients in memory instead."""
    program = tmp_path / "snippet.py"
    # Line numbers as in the page, so that a traceback leads there.
    program.write_text("\n" * block.line + block.text)
    assert snippets.stdin is not None and snippets.stdout is not None
    snippets.stdin.write(f"{program}\n")
    code = snippets.stdout.readline().strip()
    assert code == "0", f"{block}: {code}\n{(tmp_path / 'snippet.log').read_text()}"


@pytest.mark.parametrize("block", OF["js"], ids=str)
def test_javascript_parses(block: Block, tmp_path: Path) -> None:
    program = tmp_path / "snippet.mjs"
    program.write_text("\n" * (block.line) + block.text)
    done = subprocess.run(["node", "--check", str(program)], capture_output=True, text=True)
    assert done.returncode == 0, f"{block}\n{done.stderr}"


@pytest.mark.parametrize("block", OF["mermaid"], ids=str)
def test_diagrams_are_of_the_plain_kind(block: Block) -> None:
    """Every line is one of the few forms that these pages use, and names whom it introduced."""
    first, *lines = map(str.strip, block.text.splitlines())
    check = {"sequenceDiagram": check_sequence, "flowchart TD": check_flowchart}[first]
    check(lines)


def check_flowchart(lines: list[str]) -> None:
    known: set[str] = set()
    for line in lines:
        box = re.fullmatch(r'(?:subgraph )?(\w+)\["[^"]+"\]', line)
        arrow = re.fullmatch(r'(\w+) -->(?:\|\w+\|)? (\w+)(\["[^"]+"\])?', line)
        if box:
            known.add(box[1])
        elif arrow:
            if arrow[3]:
                known.add(arrow[2])
            assert {arrow[1], arrow[2]} <= known, line
        else:
            assert line == "end", line


def check_sequence(lines: list[str]) -> None:
    known: set[str] = set()
    for line in lines:
        participant = re.fullmatch(r"participant (\w+)( as .+)?", line)
        said = re.fullmatch(r"(\w+)--?(?:>>|x)(\w+): .+", line)
        said = said or re.fullmatch(r"Note over (\w+)(?:,(\w+))?: .+", line)
        if participant:
            known.add(participant[1])
        elif said:
            assert {name for name in said.groups() if name} <= known, line
        else:
            assert re.fullmatch(r"(?:par|and|alt|else)(?: .+)?|end", line), line
        # These two end a line in Mermaid.
        assert ";" not in line and "#" not in line, line


def slug(heading: str) -> str:
    """The anchor that a heading gets where Markdown is shown."""
    text = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower())
    return text.strip().replace(" ", "-")


def anchors(page: Path) -> set[str]:
    prose = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return {slug(heading) for heading in re.findall(r"^#+ +(.+?)$", prose, re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose)):
        if re.match(r"[a-z]+:", target):
            assert target.startswith(("https://", "mailto:")), target
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        assert ROOT in file.parents, f"{page.name}: {target} leaves the repository"
        if anchor:
            assert anchor in anchors(file), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_and_options_exist(page: Path) -> None:
    """`examples/x.py`, `docs/y.md`, and `rtcio-sync --option`, wherever a page writes them."""
    text = page.read_text()
    for name in re.findall(r"\b((?:examples|docs|tests|benchmarks)/[\w./-]+\.\w+)", text):
        assert (ROOT / name).exists(), f"{page.name} names {name}"
    from rtcio_sync.cli.command import command

    options = {option for each in command.params for option in each.opts} | {"--help", "--version"}
    for line in re.findall(r"\brtcio-sync ([^\n`]*)", text):
        for option in re.findall(r"(?<!\S)--[a-z-]+", line.partition("#")[0]):
            assert option in options, f"{page.name}: rtcio-sync has no {option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_tests_exist(page: Path) -> None:
    tests = {file.name for file in ROOT.glob("tests/**/test_*.py")}
    for file in ROOT.glob("tests/**/test_*.py"):
        tests |= set(re.findall(r"^ *def (test_\w+)", file.read_text(), re.MULTILINE))
    for name in re.findall(r"`(test_[\w.]+)`", page.read_text()):
        assert name in tests, f"{page.name} names {name}"


@pytest.mark.parametrize("name", ["test_attacks.py", "test_before_our_code.py"])
def test_each_attack_that_is_tested_stands_in_the_table(name: str) -> None:
    page = (ROOT / "docs/security.md").read_text()
    tests = re.findall(r"^def (test_\w+)", (ROOT / "tests/integration" / name).read_text(), re.M)
    assert [each for each in tests if f"`{each}`" not in page] == []


def test_the_comparison_is_the_one_that_was_measured() -> None:
    page = (ROOT / "docs/security.md").read_text()
    table, _, _ = (ROOT / "benchmarks/results/attacks.md").read_text().partition("\n\n")
    assert table in page


def test_the_figures_are_those_that_were_measured() -> None:
    lines = Document.read(ROOT / "benchmarks/results").rows()
    readme, guide = ((ROOT / name).read_text() for name in ("README.md", "docs/cost.md"))
    assert f"<!-- figures -->\n{excerpt(lines)}\n<!-- /figures -->" in readme
    for name, text in tables(lines).items():
        assert f"<!-- {name} -->\n{text}\n<!-- /{name} -->" in guide
    whole = "\n\n".join(tables(lines).values())
    assert (ROOT / "benchmarks/results/table.md").read_text().startswith(whole)


def test_every_example_and_guide_is_listed() -> None:
    listed = (ROOT / "examples/README.md").read_text()
    for file in sorted((ROOT / "examples").iterdir()):
        if file.is_file() and file.name not in ("README.md", "Dockerfile.dockerignore"):
            assert f"({file.name})" in listed, file.name
    front = (ROOT / "docs/getting-started.md").read_text()
    for guide in ROOT.glob("docs/*.md"):
        assert guide.name == "getting-started.md" or f"({guide.name})" in front, guide.name


@pytest.mark.parametrize(
    "file, line",
    [
        ("gunicorn.conf.py", r"^limit_request_line = \d+"),
        ("gunicorn.conf.py", r"^limit_request_fields = \d+"),
        ("gunicorn.conf.py", r"^limit_request_field_size = \d+"),
        ("gunicorn.conf.py", r"^worker_connections = [\d_]+"),
        ("gunicorn.conf.py", r"^keepalive = \d+"),
        ("nginx.conf", r"^ +client_header_timeout 10s;"),
        ("nginx.conf", r"^ +client_body_timeout 10s;"),
        ("nginx.conf", r"^ +large_client_header_buffers 4 8k;"),
        ("nginx.conf", r"^ +client_max_body_size 1m;"),
        ("nginx.conf", r"^ +limit_conn \w+ \d+;"),
    ],
)
def test_an_example_has_the_line_that_security_md_names(file: str, line: str) -> None:
    assert re.search(line, (ROOT / "examples" / file).read_text(), re.MULTILINE)
    name = re.findall(r"[a-z]\w+", line)[0]
    assert f"`{name}`" in (ROOT / "docs/security.md").read_text(), name
