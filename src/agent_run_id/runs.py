"""Runs: units of work with a beginning and an end, and what is recorded while they last.

Nothing here raises into the traced program but `RunDepthError`, which is there to stop it, and the plain mistakes of a
call (a status that does not exist). Nothing waits.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NoReturn

from agent_run_id.events import (
    OUTCOME,
    RUN_DECISION,
    RUN_ENDED,
    RUN_PAUSED,
    RUN_RESUMED,
    RUN_STEP,
    RUN_UPDATED,
    RUN_USAGE,
    encode_fields,
    encode_fixed,
    listed,
)
from agent_run_id.holding import Claimed
from agent_run_id.ids import RunId, random_id
from agent_run_id.journal import current_journal, is_inherited
from agent_run_id.outcomes import ENDINGS, describe_error, note_run, outcome_of
from agent_run_id.scope import ScopeOwner, current_run_id, current_scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType
    from typing import Self

    from agent_run_id.journal import Journal
    from agent_run_id.outcomes import Ending, Expected

__all__ = ["UNSET", "Decision", "NoRun", "Pause", "Run", "Unset", "current_run"]


class Unset:
    """The type of `UNSET`, which stands for "not given" where None is a value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()

_NO_OUTPUT: Final = ',"output":null'
_NOTHING: Final[Mapping[str, Any]] = {}


class Decision:
    """A choice that was recorded, to which its outcome can be added once it is known."""

    __slots__ = ("_id", "_run")

    def __init__(self, run: Run, decision_id: str) -> None:
        self._run = run
        self._id = decision_id

    def outcome(self, text: str) -> None:
        """Record how the decision turned out."""
        self._run._record(OUTCOME, {"outcome": text}, fixed={"decision": self._id})  # noqa: SLF001 - one room


class Pause:
    """A wait that has begun: as a block it lasts as long as that, otherwise until somebody resumes the run."""

    __slots__ = ("_run",)

    def __init__(self, run: Run) -> None:
        self._run = run

    def __enter__(self) -> None:
        """Wait."""

    def __exit__(self, *exc_info: object) -> None:
        self._run._go_on()  # noqa: SLF001 - one room


class Run(ScopeOwner):
    """A run that has started. `start_run` makes them.

    `with` and `async with` make it current and end it: `succeeded`, or what the exception that leaves it means.
    Without them, call `end`. Only the first end counts. All methods may be called from any thread or task.

    Attributes:
        id: The run's identity.
    """

    __slots__ = ("_began", "_claimed", "_ended", "_expected", "_journal", "_paused", "id", "name")

    id: RunId
    name: str | None

    def __init__(
        self,
        run_id: RunId,
        *,
        name: str | None = None,
        journal: Journal | None = None,
        expected: Expected = (),
        began: int | None = None,
    ) -> None:
        super().__init__(run_id)
        self.id = run_id
        self.name = name
        self._journal = journal or current_journal()
        self._expected = expected
        self._began = began
        self._claimed: Claimed | None = None
        self._paused = False
        self._ended: list[None] = []

    def __repr__(self) -> str:
        return f"<Run {self.id.short()} {self.name!r}>"

    def step(self, name: str, /, **data: Any) -> None:
        """Record something that happened.

        Args:
            name: What happened, for a person.
            **data: Whatever describes it; any values, made plain and bounded.
        """
        self._record(RUN_STEP, {"name": name, "data": data or None})

    def decide(
        self, question: str, /, *, options: Iterable[Any], chosen: Any, why: str, confidence: float | None = None
    ) -> Decision:
        """Record a decision and its reason.

        Args:
            question: What was to be decided.
            options: What could have been chosen.
            chosen: What was.
            why: The reason.
            confidence: From 0 to 1, when known.

        Returns:
            A handle to add the outcome to.
        """
        decision = Decision(self, random_id())
        self._record(
            RUN_DECISION,
            {
                "question": question,
                "why": why,
                "confidence": confidence,
                "chosen": chosen,
                "options": listed(options),
            },
            fixed={"decision": decision._id},  # noqa: SLF001 - one room
        )
        return decision

    def usage(
        self,
        *,
        model: str,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cache_read_tokens: int | None = None,
        cache_write_tokens: int | None = None,
        reasoning_tokens: int | None = None,
        cost: float | None = None,
        currency: str = "USD",
        call_id: str | None = None,
        inclusive: bool = False,
    ) -> None:
        """Record what a call to a model used. What is not known is None, never 0.

        Args:
            model: The model, by its provider's name for it.
            input_tokens: Tokens sent, those of the cache included.
            output_tokens: Tokens received, those of the reasoning included.
            cache_read_tokens: Of the input, those read from the cache.
            cache_write_tokens: Of the input, those written to the cache.
            reasoning_tokens: Of the output, those of the reasoning.
            cost: What it cost, in `currency`.
            currency: An ISO 4217 code.
            call_id: The provider's id of the call; the same call reported twice counts once.
            inclusive: Whether this is a total that already contains what the runs below report.
        """
        self._record(
            RUN_USAGE,
            {
                "model": model,
                "input_tokens": input_tokens,
                "output_tokens": output_tokens,
                "cache_read_tokens": cache_read_tokens,
                "cache_write_tokens": cache_write_tokens,
                "reasoning_tokens": reasoning_tokens,
                "cost": cost,
                "currency": None if cost is None else currency,
                "call_id": call_id,
                "inclusive": inclusive is True or None,
            },
        )

    def update(
        self,
        *,
        output: Any = UNSET,
        summary: str | Unset = UNSET,
        tags: Iterable[str] | Unset = UNSET,
        links: Iterable[RunId | str] | Unset = UNSET,
        aliases: Iterable[str] | Unset = UNSET,
        attributes: Mapping[str, Any] | Unset = UNSET,
    ) -> None:
        """Change what is known of the run while it lasts.

        Args:
            output: What it produced so far; replaces what was recorded before.
            summary: One line for a person; replaces.
            tags: Added to those it has.
            links: Other runs it has to do with; added.
            aliases: Names it has elsewhere, by each of which the registry finds it; added.
            attributes: Merged into those it has, key by key.
        """
        lists = {"tags": tags, "links": links, "aliases": aliases}
        fields: dict[str, Any] = {
            "summary": summary,
            **{name: value if value is UNSET else listed(value) for name, value in lists.items()},
            "attributes": attributes,
            "output": output,
        }
        given = {name: value for name, value in fields.items() if value is not UNSET}
        if given:
            self._record(RUN_UPDATED, given, explicit_none=output is None)

    def end(
        self,
        *,
        status: Ending | None = None,
        output: Any = UNSET,
        error: BaseException | str | None = None,
    ) -> None:
        """End the run. Only the first end of a run counts; further calls do nothing.

        Args:
            status: ``"succeeded"``, ``"failed"`` or ``"cancelled"``; None derives it from `error`.
            output: What the run produced.
            error: What went wrong: an exception, or a text.

        Raises:
            ValueError: there is no such status to end a run with.
        """
        if status is not None and status not in ENDINGS:
            raise ValueError(f"a run ends as one of {', '.join(ENDINGS)}, not {status!r}")
        self._end(status, output, error)

    def _end(self, status: Ending | None, output: Any, error: BaseException | str | None) -> None:
        self._ended.append(None)  # atomic: of two threads, the one that finds itself first ends the run
        if len(self._ended) > 1 or not self._journal.records:
            return
        if status is None:
            status = outcome_of(error, self._expected)
        elapsed = None if self._paused else self._elapsed()
        fields: dict[str, Any] = {}
        if error is not None:
            fields["error"] = describe_error(error, expected=self._expected)
        if output is not UNSET:
            fields["output"] = output
        fixed = {"status": status, "elapsed": elapsed, "hand": self._hand()}
        self._record(RUN_ENDED, fields, fixed=fixed, explicit_none=output is None)
        if self._claimed is not None:
            self._claimed.change(status)

    def pause(self, reason: str) -> Pause:
        """Say that the run waits from now on, for a person or for anything else that may take long.

        It does not end with its block any more, unless an exception leaves that, and nothing need be left of this
        process: whoever calls `resume` with its id goes on with it, in this process or in another. For a wait that
        this process sits out, ``with run.pause("…"): …`` does both.

        Args:
            reason: What it waits for, for a person.
        """
        if not self._paused and not self._ended:
            self._paused = True
            # The claim first: who takes it before is not to find a wait, and who takes it after is to find this one.
            if self._claimed is not None:
                self._claimed.change("paused", self.id.token)
            elif self._is_ours():
                self._claimed = Claimed.of_paused(self._journal, self.id)
            self._record(RUN_PAUSED, {"reason": reason}, fixed={"elapsed": self._elapsed(), "hand": self._hand()})
        return Pause(self)

    def _is_ours(self) -> bool:
        """Whether it began in this process by this handle; else it is perhaps another process's."""
        return self._began is not None and not is_inherited(self._began)

    def _go_on(self) -> None:
        """Go on with a run that waited in this process, unless somebody else has gone on with it meanwhile."""
        if not self._paused or self._ended:
            return
        if self._is_ours() if self._claimed is None else self._claimed.take_back():
            self._paused = False
            self._began = time.perf_counter_ns()
            fixed = {"hand": self._hand(), "after": "paused", "owner": self._journal.process_id}
            self._record(RUN_RESUMED, {}, fixed=fixed)

    def _hand(self) -> int | None:
        """The how manieth change of hands brought the run here, as far as it is known."""
        return None if self._claimed is None else self._claimed.claim.hand

    def _elapsed(self) -> int | None:
        return None if self._began is None else (time.perf_counter_ns() - self._began) // 1000

    def _record(
        self, kind: str, fields: Mapping[str, Any], *, fixed: Mapping[str, Any] = _NOTHING, explicit_none: bool = False
    ) -> None:
        """Append one event.

        Args:
            kind: Its type.
            fields: What the program says; what may be large comes last.
            fixed: What we say.
            explicit_none: Whether an output of None was given, and not left out.
        """
        journal = self._journal
        if journal.records:
            none = _NO_OUTPUT if explicit_none else ""
            journal.append(kind, self.id.token, encode_fixed(fixed) + encode_fields(fields) + none)

    @property
    def run(self) -> Run:
        """This run: what code in a scope of it gets from `current_run`."""
        return self

    def finish(self, error: BaseException | None) -> None:
        """End the run by what left it; one that waits goes on waiting, unless it is an error."""
        if error is None and self._paused:
            return
        if error is not None:
            note_run(error, self.id, self.name, self._expected)
        self._end(None, UNSET, error)

    def __enter__(self) -> Self:
        self._enter()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave()
        if not self._is_open:
            self.finish(exc)

    async def __aenter__(self) -> Self:
        self._enter()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave()
        if not self._is_open:
            self.finish(exc)


class NoRun(Run):
    """What `current_run` returns where there is no run: it is false, ignores everything and counts what it ignored.

    Attributes:
        ignored: How often something was to be recorded outside any run, in this process.
    """

    __slots__ = ("ignored",)

    ignored: int
    name: str | None

    def __init__(self) -> None:
        ScopeOwner.__init__(self, None)
        self.name = None
        self.ignored = 0
        self._ended = []

    def __bool__(self) -> bool:
        return False

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"no run is current here, so there is no {name!r}; start_run(…) begins one")

    def __repr__(self) -> str:
        return "<NoRun>"

    def finish(self, error: BaseException | None) -> None:
        """Nothing ends."""

    def _record(
        self, kind: str, fields: Mapping[str, Any], *, fixed: Mapping[str, Any] = _NOTHING, explicit_none: bool = False
    ) -> None:
        self.ignored += 1

    def pause(self, reason: str) -> Pause:
        """Nothing waits."""
        self.ignored += 1
        return Pause(self)

    def _go_on(self) -> None:
        """Nothing goes on."""

    def _end(self, status: Ending | None, output: Any, error: BaseException | str | None) -> None:
        self.ignored += 1


_no_run: Final = NoRun()


def current_run() -> Run:
    """The run in force here, to record something in it; a `NoRun`, which ignores and counts, where there is none.

    Where only the id is known, as beyond a carrier, the result records under that id.
    """
    scope = current_scope()
    run = None if scope is None else scope.run
    if isinstance(run, Run):
        return run
    run_id = current_run_id()
    return _no_run if run_id is None else Run(run_id)
