"""How soon commands run and what they import: ``python -m benchmarks.start``.

Against a project as ``django-admin startproject`` makes it, each command in a process of its own.
Processor time is told first: unlike the clock's it is much the same on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from .servers import ROOT
from .tables import table

RUNS = 7
SETUP = ["-c", "import django; django.setup()"]
CHECK = ["manage.py", "check"]
IMPORTED_BY = (["check"], ["migrate"], ["purge_threads", "--help"])
SDK = ("chatkit.server", "agents", "openai")
_MODULES = """
import json, runpy, sys
sys.argv = ["manage.py", *sys.argv[1:]]
try:
    runpy.run_path("manage.py", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
print()
print(json.dumps(sorted(sys.modules)))
"""


@dataclass(frozen=True, kw_only=True)
class Project:
    """Where a project is, and what its processes find in their environment."""

    folder: Path
    environment: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What one process took, in seconds."""

    cpu: float
    clock: float


def ours(folder: Path) -> Project:
    """This site, with a database of its own."""
    return Project(
        folder=ROOT,
        environment={
            "DATABASE_URL": f"sqlite:///{folder / 'ours.sqlite3'}",
            "DJANGO_SETTINGS_MODULE": "chatsite.settings",
            "DJANGO_DEBUG": "1",
        },
    )


def bare(folder: Path) -> Project:
    """A new project of Django's own making."""
    command = [sys.executable, "-m", "django", "startproject", "bare", str(folder)]
    subprocess.run(command, check=True)  # noqa: S603 (The program is ours.)
    return Project(folder=folder, environment={"DJANGO_SETTINGS_MODULE": "bare.settings"})


def take(project: Project, command: Sequence[str]) -> Taken:
    """Run Python once. Raises subprocess.CalledProcessError."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    _python(project, command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Taken(
        cpu=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        clock=time.perf_counter() - begun,
    )


def compare(
    projects: tuple[Project, Project], command: Sequence[str], runs: int
) -> list[tuple[Taken, Taken]]:
    """Pairs of ours and the bare one's, after one of each that does not count."""
    for project in projects:
        take(project, command)
    found = []
    for run in range(runs):
        mine, other = (take(project, command) for project in projects)
        found.append((mine, other))
        sys.stderr.write(f"{' '.join(command)}: {run + 1} of {runs}\n")
    return found


def imported(project: Project, command: Sequence[str]) -> list[str]:
    """Which modules of the SDK a management command of ours imports."""
    modules = json.loads(_python(project, ["-c", _MODULES, *command]).splitlines()[-1])
    return [name for name in SDK if name in modules]


def _python(project: Project, arguments: Sequence[str]) -> str:
    done = subprocess.run(  # noqa: S603 (The program is ours.)
        [sys.executable, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=project.folder,
        env=os.environ | project.environment,
        text=True,
    )
    return done.stdout


def row(command: Sequence[str], pairs: Sequence[tuple[Taken, Taken]]) -> list[str]:
    """The line of a table: medians, of ratios those of each pair's."""
    return [
        f"`python {' '.join(command)}`",
        f"{median(mine.cpu / other.cpu for mine, other in pairs):.2f}",
        f"{median(mine.clock / other.clock for mine, other in pairs):.2f}",
        *(f"{median(pair[side].cpu for pair in pairs):.2f}" for side in (0, 1)),
        *(f"{median(pair[side].clock for pair in pairs):.2f}" for side in (0, 1)),
    ]


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="of each; medians are told")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="chat-bench-") as name:
        projects = ours(Path(name)), bare(Path(name))
        timed = {" ".join(each): compare(projects, each, options.runs) for each in (SETUP, CHECK)}
        modules = {" ".join(each): imported(projects[0], each) for each in IMPORTED_BY}
    heads = ["", "CPU, ratio", "clock, ratio", "CPU s, ours", "bare", "clock s, ours", "bare"]
    lines = table(heads, [row(each, timed[" ".join(each)]) for each in (SETUP, CHECK)])
    lines += ["", *table(["", *SDK], [_imports(each, found) for each, found in modules.items()])]
    sys.stdout.write("\n".join(lines) + "\n")
    if options.json:
        figures = {
            "timed": {
                command: [{"ours": asdict(mine), "bare": asdict(other)} for mine, other in pairs]
                for command, pairs in timed.items()
            },
            "imported": modules,
        }
        options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


def _imports(command: str, found: Sequence[str]) -> list[str]:
    marks = ("IMPORTED" if name in found else "no" for name in SDK)
    return [f"`manage.py {command}`", *marks]


if __name__ == "__main__":
    main(sys.argv[1:])
