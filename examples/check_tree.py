"""Whether the recorded tree is what really happened: the tree on one side, the workers' notebook on the other."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING
from unittest import mock

import agent_run_id as ari

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Work = tuple[str, str, str]
"""Who worked, who had asked for it, and how it ended."""

BREAKS: dict[str, tuple[str, Callable[..., object]]] = {
    "thread": ("bind", lambda fn: fn),  # the thread is started with the bare function
    "subprocess": ("child_env", ari.isolated(ari.child_env)),  # the environment says where to record, and no run
    "http": ("current_run_id", lambda: None),  # there is nothing to put into the header
    "pool": ("BoundProcessPoolExecutor", ProcessPoolExecutor),  # its process has the run it was forked in
    "queue": ("carry", contextlib.nullcontext),  # a letter brings no run along, so the clerk has only its own
}


def broken(handover: str) -> contextlib.AbstractContextManager[object]:
    """Drop one hand-over, one of `BREAKS`, to show that the check notices; nothing for an empty name."""
    if not handover:
        return contextlib.nullcontext()
    function, replacement = BREAKS[handover]
    return mock.patch.object(ari, function, replacement)


def clear(directory: Path) -> None:
    """Remove what an earlier demo left. A directory that is not a demo's is refused and left as it is."""
    if directory.exists() and any(directory.iterdir()):
        if not any(directory.glob("trip-notebook*.tsv")):
            raise ValueError(f"{directory} holds something else than a demo: give an empty directory or a new one")
        shutil.rmtree(directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)


def differences(tree: ari.Tree, notebook: Path) -> list[str]:
    """What is only in the tree or only in the notebook, a line each; empty when they agree."""
    recorded, written = Counter(_recorded(tree)), Counter(_written(notebook))
    return [
        *(f"only in the notebook: {_told(work)}" for work in (written - recorded).elements()),
        *(f"only in the tree:     {_told(work)}" for work in (recorded - written).elements()),
    ]


def _recorded(tree: ari.Tree) -> list[Work]:
    work = [_work(tree, "-")]
    for node in tree:
        work += [_work(child, "(unknown)" if child.detached else str(node.record.name)) for child in node.children]
    return work


def _work(node: ari.Tree, caller: str) -> Work:
    return (str(node.record.name), caller, str(node.record.status))


def _written(notebook: Path) -> list[Work]:
    lines = notebook.read_text(encoding="utf-8").splitlines()
    return [(name, caller, ended) for name, caller, ended in (line.split("\t") for line in lines)]


def _told(work: Work) -> str:
    name, caller, ended = work
    return f"{name}, called by {caller}, {ended}"
