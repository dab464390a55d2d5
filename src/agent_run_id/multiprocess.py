"""Processes of `multiprocessing` that run in the run of whoever started them."""

from __future__ import annotations

import multiprocessing
from functools import partial
from typing import TYPE_CHECKING, Any

from agent_run_id import settings
from agent_run_id.binding import bind

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import BaseContext

__all__ = ["BoundProcess"]


class BoundProcess(multiprocessing.Process):
    """A `multiprocessing.Process` that runs in the run current when it is started, also where `run` is overridden.

    It has the settings of the process that starts it, whatever the start method.

    Args:
        *args: As for `multiprocessing.Process`.
        context: What `multiprocessing.get_context` gives, for another start method than the default one.
        **kwargs: As for `multiprocessing.Process`.
    """

    def __init__(self, *args: Any, context: BaseContext | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._run_context = context

    def start(self) -> None:
        """Start the process in the current run."""
        # On the instance, so that it goes along when the instance is pickled for a child that is not a fork.
        vars(self)["run"] = partial(_run, settings.snapshot(), bind(self.run))
        try:
            super().start()
        finally:
            vars(self).pop("run", None)

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - the hook of `multiprocessing` for the start method
        context = process_obj._run_context  # noqa: SLF001 - of this class
        kind: Any = multiprocessing.Process if context is None else context.Process
        return kind._Popen(process_obj)  # noqa: SLF001 - likewise


def _run(given: settings.Snapshot, run: Callable[[], None]) -> None:
    settings.adopt(given)
    run()
