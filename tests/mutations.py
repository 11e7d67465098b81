"""Does a test notice when the store forgets whose a thing is?

For each method of the store, for the way to a file's bytes, and for each of the conditions that
``owned_by`` consists of, this removes the owner from a copy of the tree and runs the isolation
tests there. One of them has to go red. Run it after a change of the store or of those tests; it
takes ten minutes or so::

    python -m tests.mutations            # all of them, as a table
    python -m tests.mutations load_item  # those whose name contains this

Ends with status 1 if a mutation survived, or if one no longer fits the code.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
MATRIX = "tests/chatkit_endpoint/test_isolation_matrix.py"
UPLOADS = "tests/chatkit_endpoint/test_uploads.py"
# The quick ones first.
TESTS = (
    f"{MATRIX}::test_the_store_gives_a_stranger_nothing",
    f"{MATRIX}::test_a_stranger_is_told_what_they_are_told_of_nothing",
    f"{UPLOADS}::test_a_foreign_file_answers_exactly_as_a_missing_one_does",
)
COPIED = ("chatkit_endpoint", "chatsite", "observability", "templates", "tests", "pyproject.toml")
ATTACHMENTS = "chatkit_endpoint/attachments.py"
STORE = "chatkit_endpoint/store.py"
MODELS = "chatkit_endpoint/models.py"
ANY_THREAD = "_any_thread_row(thread_id)"
ANY_ITEM = "ThreadItemRow.objects.filter(thread__key=thread_id, key=item_id)"
HELPER = """

def _any_thread_row(key: str) -> Thread:
    row = Thread.objects.filter(key=key).first()
    if row is None:
        raise NotFoundError(f"Thread {key} not found")
    return row
"""


class Mutation(NamedTuple):
    """In ``function`` of a file, ``before`` becomes ``after``."""

    name: str
    path: str
    function: str
    before: str
    after: str


def _store(name: str, function: str, before: str, after: str) -> Mutation:
    return Mutation(name, STORE, f"def {function}(", before, after)


def _condition(queryset: str, before: str, after: str) -> Mutation:
    column = "tenant" if "tenant" in before else "owner"
    return Mutation(f"{queryset}.owned_by: {column}", MODELS, f"class {queryset}(", before, after)


def _prepared(name: str, statement: str, after: str = "") -> Mutation:
    return Mutation(name, STORE, f"{statement} = ", ".owned_by(OWNER)", after)


_OWN_THREAD = "_thread_row(thread_id, context)"
_OWN_ITEM = "_item_rows(thread_id, item_id, context)"
_OWNED = ".owned_by(context)"
MUTATIONS = [
    _prepared("load_thread", "_thread_payload"),
    _prepared("save_thread", "_locked_thread_payload"),
    _prepared("load_threads", "_threads", ".all()"),
    _store("delete_thread", "_delete_thread", _OWN_THREAD, ANY_THREAD),
    _prepared("load_thread_items", "_this_thread"),
    _prepared("add_thread_item, save_item: the thread", "_touch_thread"),
    _prepared("add_thread_item, save_item: the item", "_item_of_thread"),
    _prepared("load_item", "_item_payload"),
    _store("delete_thread_item", "_delete_item", _OWN_ITEM, ANY_ITEM),
    _store("save_attachment", "_save_attachment", _OWNED, ""),
    _store(
        "save_attachment, its thread",
        "_save_attachment",
        "_thread_row(attachment.thread_id, context)",
        "_any_thread_row(attachment.thread_id)",
    ),
    _prepared("load_attachment", "_attachment_payload"),
    _store("delete_attachment", "_delete_attachment", _OWNED, ""),
    Mutation("a file's bytes", ATTACHMENTS, "def _row(", _OWNED, ""),
    _condition("ThreadQuerySet", "tenant=context.tenant, ", ""),
    _condition("ThreadQuerySet", ", owner_key=context.owner_key", ""),
    _condition("ThreadItemQuerySet", "thread__tenant=context.tenant, ", ""),
    _condition("ThreadItemQuerySet", ", thread__owner_key=context.owner_key", ""),
    _condition("AttachmentQuerySet", "tenant=context.tenant, ", ""),
    _condition("AttachmentQuerySet", ", owner_key=context.owner_key", ""),
]


def main(wanted: str = "") -> int:
    survivors = 0
    width = max(len(mutation.name) for mutation in MUTATIONS)
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        tree = Path(folder)
        _copy(tree)
        if first := _first_failure(tree):
            _say(f"Without a mutation {first} fails already.")
            return 1
        for mutation in MUTATIONS:
            if wanted not in mutation.name:
                continue
            failure = _try(tree, mutation)
            survivors += not failure
            _say(f"{mutation.name:{width}}  {failure or 'SURVIVED'}")
    _say(f"{survivors} survived.")
    return 1 if survivors else 0


def _try(tree: Path, mutation: Mutation) -> str:
    """Which test noticed; empty if none did. The tree is as before afterwards."""
    path = tree / mutation.path
    original = path.read_text(encoding="utf-8")
    path.write_text(_mutated(original, mutation), encoding="utf-8")
    try:
        return _first_failure(tree)
    finally:
        path.write_text(original, encoding="utf-8")


def _mutated(code: str, mutation: Mutation) -> str:
    """Raises ValueError where the code has changed so that the mutation does not fit any more."""
    head, found, tail = code.partition(mutation.function)
    # A function, a class or a statement of the module ends where the next one begins.
    end = re.search(r"\n(?=\n\n|_)", tail)
    body, rest = (tail[: end.start()], tail[end.start() :]) if end else (tail, "")
    if not found or body.count(mutation.before) != 1:
        raise ValueError(f"{mutation.name} no longer fits {mutation.path}.")
    changed = body.replace(mutation.before, mutation.after)
    helper = HELPER if mutation.path == STORE else ""
    return head + found + changed + rest + helper


def _first_failure(tree: Path) -> str:
    """The name of the first test that fails in the tree."""
    options = ("-x", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "--no-header", "--tb=no")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *TESTS],
        capture_output=True,
        check=False,
        cwd=tree,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        text=True,
    )
    for line in done.stdout.splitlines():
        if line.startswith(("FAILED ", "ERROR ")):
            return line.partition(" - ")[0].rpartition("::")[2]
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return ""


def _copy(tree: Path) -> None:
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tree / name)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
