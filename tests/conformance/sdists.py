"""The source distributions of other packages, whose tests these tests run.

Fetched from the package index when first asked for, in the very version that is installed, and kept
unpacked in a folder that is never committed.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
CACHE = ROOT / "test-artifacts" / "sdists"


def sdist(package: str) -> Path:
    """The folder with the sources of the installed version of `package`."""
    version = importlib.metadata.version(package)
    folder = CACHE / f"{package}-{version}"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as beside:
            # Moved into its place whole: another run may be looking for it.
            unpacked = _unpack(_download(f"{package}=={version}", Path(beside)), Path(beside))
            if not folder.exists():
                os.replace(unpacked, folder)
    return folder


def _download(requirement: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--no-binary", ":all:", "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{requirement} cannot be downloaded:\n{done.stderr}"
    (archive,) = folder.glob("*.tar.gz")
    return archive


def _unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        # Python 3.10.12 and 3.11.4 were the first to have filters.
        safely: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(folder / "unpacked", **safely)
    (inner,) = (folder / "unpacked").iterdir()
    return inner
