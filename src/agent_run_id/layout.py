"""Layout: which files a directory of runs holds, and how they are called.

``journal/<time>-<pid>-<process>.<segment>.jsonl`` is one file of one process. ``journal/<time>-bundle-<id>.0001.jsonl``
holds those of many processes that are over, one behind the other. What begins with a dot is not for readers.
"""

from __future__ import annotations

import os
import time
from typing import Final, NamedTuple

__all__ = ["BUNDLE", "CLAIMS", "JOURNALS", "SUFFIX", "Name", "bundle_name", "journal_name", "parse_name"]

JOURNALS: Final = "journal"
"""The folder of the journals, inside the directory of `settings.directory`."""
CLAIMS: Final = "claims"
"""The folder beside it that says who has a run that changes hands."""
SUFFIX: Final = ".jsonl"
BUNDLE: Final = "bundle"
_STAMP: Final = "%Y%m%dT%H%M%SZ"


class Name(NamedTuple):
    """What the name of a file says: whose it is, its number among theirs, and whether it holds those of many."""

    owner: str
    number: int
    is_bundle: bool


def journal_name(process_id: str, number: int) -> str:
    """The name of a journal that begins now."""
    return f"{time.strftime(_STAMP, time.gmtime())}-{os.getpid()}-{process_id}.{number:04d}{SUFFIX}"


def bundle_name(bundle_id: str) -> str:
    """The name of a bundle that is made now."""
    return f"{time.strftime(_STAMP, time.gmtime())}-{BUNDLE}-{bundle_id}.0001{SUFFIX}"


def parse_name(name: str) -> Name | None:
    """What the name of a journal says; None for what is none. A name of somebody's own is that of a process alone."""
    if name.startswith(".") or not name.endswith(SUFFIX):
        return None
    stem, _, number = name[: -len(SUFFIX)].rpartition(".")
    parts = stem.split("-")
    if len(parts) != 3 or not number.isascii() or not number.isdigit():
        return Name(name, 1, is_bundle=False)
    return Name(parts[2], int(number), is_bundle=parts[1] == BUNDLE)
