"""A benchmark, run as `make bench` does, at a size that fits into the tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.servers import ROOT


def run(tmp_path: Path, module: str, *options: str) -> tuple[Any, str]:
    """The figures and the tables."""
    path = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *options, "--json", str(path)],
        check=True,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    return json.loads(path.read_text(encoding="utf-8")), done.stdout
