"""The first program of the README: pasted into an empty folder, started as it says there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.docs.pages import BLOCKS, ROOT
from tests.examples.launch import program
from tests.integration.clients import Driver, meet
from tests.integration.servers import free_port

README = [block for block in BLOCKS if block.page == ROOT / "README.md"]


def test_the_first_program_of_the_readme_runs_as_pasted_with_no_warning(
    node: Driver, tmp_path: Path
) -> None:
    installed, source, started = README[:3]
    assert (installed.text, source.language) == ("pip install rtcio-sync\n", "python")
    assert len([line for line in source.text.splitlines() if line.strip()]) <= 6
    command = re.match(r"flask (--debug rtcio run) +# .*http://localhost:5000(\S+)", started.text)
    assert command is not None
    (tmp_path / "app.py").write_text(source.text)
    port = free_port()
    flask = [sys.executable, "-W", "error", "-m", "flask", *command[1].split()]
    with program([*flask, "--port", str(port)], port=port, cwd=tmp_path) as server:
        assert "join" in server.get(command[2]).read().decode().lower()
        a, b = node.connect(server.url), node.connect(server.url)
        for client in (a, b):
            client.emit("join-room", {"roomId": "tea"})
            client.wait_for("join-ok")
        assert a.wait_for("#rtcio:init-offer")[0] == {"source": b.id}
        meet(a, b)
        assert "Warning" not in server.log()
        page = command[2].partition("?")[0]
        assert f" * Open http://localhost:{port}{page}\n" in server.log()
