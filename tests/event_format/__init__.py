"""What is made of the models of the format: its JSON Schema, and the tables in docs/journal-format.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from agent_run_id.event_format import SCHEMA_FILE
from tests.event_format.schemas import json_schema, text_of
from tests.event_format.tables import tables

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AGAIN", "PAGE", "PUBLISHED", "made", "with_tables"]

_HERE: Final = Path(__file__).parent.parent.parent
PAGE: Final = _HERE / "docs" / "journal-format.md"
PUBLISHED: Final = _HERE / "tests" / "published"
"""The schema of the last version that was published, and lines that it wrote."""

AGAIN: Final = "run `make event-format` to make it again from agent_run_id/event_models.py"

_BEGINNING: Final = "<!-- The tables are made by `make event-format` from agent_run_id/event_models.py. -->"
_END: Final = "<!-- The end of the tables. -->"


def with_tables(page: str, schema: Mapping[str, Any]) -> str:
    """The page with the tables that belong to the schema."""
    pattern = rf"(?<={re.escape(_BEGINNING)}\n\n).*?(?=\n\n{re.escape(_END)})"
    assert re.search(pattern, page, flags=re.DOTALL), "the tables stand between two comments"
    return re.sub(pattern, lambda _: tables(schema), page, flags=re.DOTALL)


def made() -> dict[Path, str]:
    """Every file that is made of the models, with what has to be in it."""
    schema = json_schema()
    return {
        _HERE / "src" / "agent_run_id" / SCHEMA_FILE: text_of(schema),
        _HERE / "docs" / SCHEMA_FILE: text_of(schema),
        PAGE: with_tables(PAGE.read_text(encoding="utf-8"), schema),
    }
