"""Yields: whether a `with` block in a generator lets its consumer run in the middle of it.

Python gives no event for that, so the code is looked at: is there a `yield` between the point where the block is
entered and the end of what its exit guards? Each place in the code is looked at once.
"""

from __future__ import annotations

from opcode import opmap
from typing import TYPE_CHECKING, Final

from agent_run_id.errors import RunScopeWarning
from agent_run_id.notices import tell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FrameType

__all__ = ["warn_of_yield"]

_YIELD: Final = opmap["YIELD_VALUE"]
_WITH_HANDLER: Final = opmap["WITH_EXCEPT_START"]
# In an async generator an `await` yields too, to the event loop. What goes to the consumer is wrapped first: by an
# instruction of its own in Python 3.11, by intrinsic function 4 later.
_WRAPS: Final = (opmap["ASYNC_GEN_WRAP"], None) if "ASYNC_GEN_WRAP" in opmap else (opmap.get("CALL_INTRINSIC_1"), 4)
_CO_ASYNC_GENERATOR: Final = 0x200

# Who drives a generator as two halves of one block, so that a scope around its `yield` is what is meant.
_RIGHTLY: Final = frozenset(
    {
        "_pytest",
        "agent_run_id",
        "anyio",
        "contextlib",
        "dishka",
        "fast_depends",
        "fastapi",
        "litestar",
        "pytest",
        "pytest_asyncio",
        "starlette",
        "svcs",
        "taskiq_dependencies",
    }
)

_looked_at: dict[tuple[CodeType, int], bool] = {}
_told: list[None] = []


def warn_of_yield(frame: FrameType) -> None:
    """Warn, once in a process, when the block that `frame` enters now has a `yield` in it. Never raises."""
    if _told:
        return
    place = (frame.f_code, frame.f_lasti)
    suspends = _looked_at.get(place)
    if suspends is None:
        try:
            suspends = _suspends(*place)
        except Exception:
            suspends = False
        _looked_at[place] = suspends
    if suspends and not _is_rightly_driven(frame):
        _told.append(None)
        tell(
            f"{frame.f_code.co_qualname} makes a run current around a `yield`, so whoever consumes it sees that run "
            "between the items. Decorate the generator with @traced or @RunContext(…) instead. More under 'A bare "
            "with around a yield' in docs/walls.md; this is said once.",
            RunScopeWarning,
            place=(frame.f_code.co_filename, frame.f_lineno),
        )


def _is_rightly_driven(frame: FrameType) -> bool:
    driver = frame.f_back
    return driver is not None and str(driver.f_globals.get("__name__")).partition(".")[0] in _RIGHTLY


def _suspends(code: CodeType, entered: int) -> bool:
    """Whether there is a `yield` in the block entered at this instruction."""
    instructions, table = code.co_code, list(_exception_table(code))
    # What follows the entry is guarded by the handler of the block: the first that begins as those of `with` do.
    handlers = [handler for start, _, handler in table if start > entered]
    block = next((handler for handler in handlers if instructions[handler + 2] == _WITH_HANDLER), None)
    return block is not None and any(_is_guarded(offset, block, table) for offset in _yields(code))


def _is_guarded(offset: int, block: int, table: list[tuple[int, int, int]]) -> bool:
    """Whether an exception at `offset` would come to the handler `block`, perhaps through those of blocks inside it."""
    for _ in table:
        handler = next((handler for start, end, handler in table if start <= offset < end), None)
        if handler is None:
            return False
        if handler == block:
            return True
        offset = handler
    return False


def _yields(code: CodeType) -> Iterator[int]:
    """The offsets of the instructions at which the consumer runs."""
    instructions = code.co_code
    for offset in range(0, len(instructions), 2):
        if instructions[offset] == _YIELD and (
            not code.co_flags & _CO_ASYNC_GENERATOR or _is_wrapped(instructions, offset)
        ):
            yield offset


def _is_wrapped(instructions: bytes, offset: int) -> bool:
    operation, argument = _WRAPS
    return instructions[offset - 2] == operation and argument in (None, instructions[offset - 1])


def _exception_table(code: CodeType) -> Iterator[tuple[int, int, int]]:
    """What guards which instructions: start, end and handler, as offsets.

    The format is described in CPython's InternalDocs/exception_handling.md.
    """
    table = iter(code.co_exceptiontable)

    def number() -> int:
        byte = next(table)
        value = byte & 63
        while byte & 64:
            byte = next(table)
            value = value << 6 | byte & 63
        return value

    while True:
        try:
            start = number() * 2
        except StopIteration:
            return
        end = start + number() * 2
        handler = number() * 2
        number()  # the depth of the stack, which does not matter here
        yield start, end, handler
