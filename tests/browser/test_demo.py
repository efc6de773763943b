"""`make demo` where there is no screen: a picture of a call of two."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.browser.tabs import DEADLINE

DEMO = Path(__file__).parents[2] / "scripts/demo"


def test_without_a_screen_the_demo_takes_a_picture_of_a_call(tmp_path: Path) -> None:
    picture = tmp_path / "demo.png"
    done = subprocess.run(
        [sys.executable, str(DEMO), str(picture)],
        env={**os.environ, "HEADLESS": "1"},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stderr
    assert "Ada and Bob are in a call" in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
