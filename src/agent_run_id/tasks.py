"""Tasks: a run for each task of a group.

Tasks need nothing to be in the run of whoever starts them: asyncio, anyio and trio see to that. What is here starts
each of several tasks as a run of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import anyio

from agent_run_id.starting import start_run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

__all__ = ["run_each"]

A = TypeVar("A")
T = TypeVar("T")


async def run_each(
    fn: Callable[[A], Awaitable[T]],
    items: Iterable[A],
    /,
    *,
    name: str | None = None,
    kind: str = "task",
    key: Callable[[A], str] | None = None,
    limit: int | None = None,
) -> list[T]:
    """Await ``fn(item)`` for every item at once, each in a child run of its own.

    Like a task group: when one fails, the others are cancelled, and the failures are raised as a group.

    Args:
        fn: What to do with an item.
        items: The items.
        name: The name of the runs; the function's qualified name by default.
        kind: Their kind, as in `start_run`.
        key: Gives the key of an item's run, by which two batches are compared.
        limit: How many may run at the same time; all of them by default.

    Returns:
        What `fn` gave for each item, in the order of the items.

    Raises:
        ExceptionGroup: `fn` failed for at least one item.
        ValueError: `limit` is less than 1.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit is a number from 1, not {limit!r}")
    title = name or getattr(fn, "__qualname__", None) or repr(fn)
    slots = None if limit is None else anyio.Semaphore(limit)
    results: dict[int, T] = {}

    async def one(place: int, item: A) -> None:
        with start_run(title, kind=kind, key=None if key is None else key(item)):
            results[place] = await fn(item)

    async def limited(place: int, item: A, slots: anyio.Semaphore) -> None:
        async with slots:
            await one(place, item)

    async with anyio.create_task_group() as group:
        for place, item in enumerate(items):
            if slots is None:
                group.start_soon(one, place, item)
            else:
                group.start_soon(limited, place, item, slots)
    return [results[place] for place in range(len(results))]
