"""The published format of events: the JSON Schema of a line of a journal, as it is in this version of the library."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any, Final

from agent_run_id.events import FORMAT_VERSION

__all__ = ["SCHEMA_FILE", "event_schema"]

SCHEMA_FILE: Final = f"event-format-{FORMAT_VERSION}.schema.json"


def event_schema() -> dict[str, Any]:
    """The JSON Schema of one line of a journal, draft 2020-12: a new object at each call.

    It is open: types and fields that it does not know are valid, for a later version may write them.
    See the [specification](https://json-schema.org/draft/2020-12/json-schema-core) for its keywords.
    """
    # Published, not made here: what is made would depend on the version of pydantic that is installed.
    schema: dict[str, Any] = json.loads(files("agent_run_id").joinpath(SCHEMA_FILE).read_text(encoding="utf-8"))
    return schema
