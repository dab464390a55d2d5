"""What is called beyond a wall; it imports little, for each process there has to."""

from __future__ import annotations

import multiprocessing
import threading
from typing import TYPE_CHECKING, Any

import agent_run_id as ari
from agent_run_id import settings

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Overriding", "here", "in_a_thread", "put"]


def here(*_: Any) -> str | None:
    """The lineage in force; and a scope is left open, which the next of the same worker must not see."""
    run_id = ari.current_run_id()
    ari.RunContext(ari.RunId.generate()).__enter__()
    return None if run_id is None else run_id.token


def put(results: Any) -> None:
    results.put(here())


def in_a_thread(kind: Callable[..., threading.Thread], target: Callable[[], Any] = here) -> Any:
    """What is seen in a thread of a kind."""
    seen: list[Any] = []
    started = kind(target=lambda: seen.append(target()))
    started.start()
    started.join()
    return seen[0]


class Overriding(multiprocessing.get_context("spawn").Process):  # type: ignore[misc]
    """A process that overrides `run`, says how it is pickled, and starts a thread."""

    def __init__(self, results: Any) -> None:
        super().__init__()
        self.results = results

    def __reduce_ex__(self, protocol: Any) -> Any:
        return (rebuilt, (dict(vars(self)),))

    def run(self) -> None:
        self.results.put((in_a_thread(threading.Thread), here(), settings.configured_directory()))


def rebuilt(attributes: dict[str, Any]) -> Any:
    made: Any = Overriding.__new__(Overriding)
    made.__dict__.update(attributes)
    return made
