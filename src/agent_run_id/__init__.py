"""Hierarchical run tracing for AI agents: one id leads from a log line to the whole tree of what ran.

Use it as ``import agent_run_id as ari``. Importing it loads neither pydantic nor sqlite3 nor asyncio nor logging: what
reads (`RunRegistry` and its records) and what needs `logging` is loaded when it is first asked for.

PYTEST_DONT_REWRITE: a program that has imported this may run pytest in its own process. Because of our plugin, pytest
would warn it that it comes too late to rewrite the assertions in here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from agent_run_id import carriers
from agent_run_id.binding import bind, isolated
from agent_run_id.errors import (
    AgentRunError,
    ConfigurationError,
    InvalidCursorError,
    InvalidRunIdError,
    InvalidTokenError,
    InvalidTreeTextError,
    MissingExtraError,
    RunDepthError,
    RunNotFound,
    RunScopeWarning,
    StoreError,
)
from agent_run_id.ids import RunId
from agent_run_id.inbound import Inbound
from agent_run_id.journal import Accounts, accounts
from agent_run_id.processes import child_env, join
from agent_run_id.queues import Carried, carry, received
from agent_run_id.run_context import RunContext
from agent_run_id.runs import Decision, NoRun, Pause, Run, current_run
from agent_run_id.scope import CURRENT, current_run_id
from agent_run_id.settings import configure
from agent_run_id.signing import SigningKeys
from agent_run_id.starting import ROOT, start_run
from agent_run_id.tracing import traced

if TYPE_CHECKING:
    from agent_run_id.answers import Counts, Links, RootRecord, Stats, UsageBreakdown, UsageGroup, UsageReport
    from agent_run_id.carriers.envelope import Envelope
    from agent_run_id.consuming import aconsume, consume
    from agent_run_id.diagnoses import Checkup
    from agent_run_id.diffing import Diff, diff
    from agent_run_id.doctoring import doctor
    from agent_run_id.event_format import event_schema
    from agent_run_id.executors import BoundProcessPoolExecutor, BoundThreadPoolExecutor, wrap_executor
    from agent_run_id.following import Watch
    from agent_run_id.handing import Accepted, AcceptedBatch, accept, accept_batch, hand_off, resume
    from agent_run_id.index import Progress
    from agent_run_id.logs import RunIdFilter, setup_logging
    from agent_run_id.messages import HandOff
    from agent_run_id.multiprocess import BoundProcess
    from agent_run_id.patching import patch_stdlib, unpatch_stdlib
    from agent_run_id.registry import RunRegistry
    from agent_run_id.schema import RunRecord
    from agent_run_id.tasks import run_each
    from agent_run_id.threads import BoundThread, BoundTimer
    from agent_run_id.tree import Tree

__all__ = [
    "CURRENT",
    "ROOT",
    "Accepted",
    "AcceptedBatch",
    "Accounts",
    "AgentRunError",
    "BoundProcess",
    "BoundProcessPoolExecutor",
    "BoundThread",
    "BoundThreadPoolExecutor",
    "BoundTimer",
    "Carried",
    "Checkup",
    "ConfigurationError",
    "Counts",
    "Decision",
    "Diff",
    "Envelope",
    "HandOff",
    "Inbound",
    "InvalidCursorError",
    "InvalidRunIdError",
    "InvalidTokenError",
    "InvalidTreeTextError",
    "Links",
    "MissingExtraError",
    "NoRun",
    "Pause",
    "Progress",
    "RootRecord",
    "Run",
    "RunContext",
    "RunDepthError",
    "RunId",
    "RunIdFilter",
    "RunNotFound",
    "RunRecord",
    "RunRegistry",
    "RunScopeWarning",
    "SigningKeys",
    "Stats",
    "StoreError",
    "Tree",
    "UsageBreakdown",
    "UsageGroup",
    "UsageReport",
    "Watch",
    "accept",
    "accept_batch",
    "accounts",
    "aconsume",
    "bind",
    "carriers",
    "carry",
    "child_env",
    "configure",
    "consume",
    "current_run",
    "current_run_id",
    "diff",
    "doctor",
    "event_schema",
    "hand_off",
    "isolated",
    "patch_stdlib",
    "received",
    "resume",
    "run_each",
    "setup_logging",
    "start_run",
    "traced",
    "unpatch_stdlib",
    "wrap_executor",
]

__version__ = "0.1.0"

_LATER: Final = {
    "BoundProcess": "agent_run_id.multiprocess",
    "BoundProcessPoolExecutor": "agent_run_id.executors",
    "BoundThread": "agent_run_id.threads",
    "BoundThreadPoolExecutor": "agent_run_id.executors",
    "BoundTimer": "agent_run_id.threads",
    "Checkup": "agent_run_id.diagnoses",
    "Counts": "agent_run_id.answers",
    "Diff": "agent_run_id.diffing",
    "Envelope": "agent_run_id.carriers.envelope",
    "Links": "agent_run_id.answers",
    "Progress": "agent_run_id.index",
    "RootRecord": "agent_run_id.answers",
    "RunIdFilter": "agent_run_id.logs",
    "RunRecord": "agent_run_id.schema",
    "RunRegistry": "agent_run_id.registry",
    "Stats": "agent_run_id.answers",
    "Tree": "agent_run_id.tree",
    "Watch": "agent_run_id.following",
    "UsageBreakdown": "agent_run_id.answers",
    "UsageGroup": "agent_run_id.answers",
    "UsageReport": "agent_run_id.answers",
    "diff": "agent_run_id.diffing",
    "doctor": "agent_run_id.doctoring",
    "event_schema": "agent_run_id.event_format",
    "patch_stdlib": "agent_run_id.patching",
    "run_each": "agent_run_id.tasks",
    "setup_logging": "agent_run_id.logs",
    "unpatch_stdlib": "agent_run_id.patching",
    "wrap_executor": "agent_run_id.executors",
    "Accepted": "agent_run_id.handing",
    "AcceptedBatch": "agent_run_id.handing",
    "HandOff": "agent_run_id.messages",
    "accept": "agent_run_id.handing",
    "aconsume": "agent_run_id.consuming",
    "consume": "agent_run_id.consuming",
    "accept_batch": "agent_run_id.handing",
    "hand_off": "agent_run_id.handing",
    "resume": "agent_run_id.handing",
}


def __getattr__(name: str) -> Any:
    try:
        room = _LATER[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(import_module(room), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


# A pickled id says where everyone finds it, not in which room it is made.
RunId.__module__ = __name__

join()
