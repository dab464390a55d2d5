"""Whether a line is valid, as any program of another author would tell."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator

from agent_run_id import event_schema

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["is_valid", "problems"]


@cache
def _published() -> Any:
    Draft202012Validator.check_schema(event_schema())
    return Draft202012Validator(event_schema())


def problems(line: Any, schema: Mapping[str, Any] | None = None) -> list[str]:
    """What is wrong with a line: where, and what; nothing when it is valid."""
    validator = _published() if schema is None else Draft202012Validator(schema)
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(line)]


def is_valid(line: Any, schema: Mapping[str, Any] | None = None) -> bool:
    """Whether a line is valid by the schema that is published, or by another."""
    return not problems(line, schema)
