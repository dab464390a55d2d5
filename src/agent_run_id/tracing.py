"""`@traced`: a run for every call of a function, coroutine function, generator or async generator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from agent_run_id.calls import Call, wrap_calls
from agent_run_id.journal import current_journal
from agent_run_id.outcomes import expected_exceptions, note_run
from agent_run_id.runs import UNSET, Run
from agent_run_id.scope import Scope, current_parent
from agent_run_id.starting import ROOT, run_id_under, start_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_run_id.ids import RunId
    from agent_run_id.outcomes import Expected

__all__ = ["Capture", "traced"]

P = ParamSpec("P")
T = TypeVar("T")

Capture = Literal["none", "input", "output", "both"]
_CAPTURES = ("none", "input", "output", "both")


@overload
def traced(fn: Callable[P, T], /) -> Callable[P, T]: ...


@overload
def traced(
    *,
    name: str | None = None,
    kind: str = "task",
    capture: Capture = "none",
    expected: Expected | type[BaseException] = (),
) -> Callable[[Callable[P, T]], Callable[P, T]]: ...


def traced(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    kind: str = "task",
    capture: Capture = "none",
    expected: Expected | type[BaseException] = (),
) -> Callable[..., Any]:
    """Start a run for every call, under the run that is current there; end it with what the call comes to.

    A coroutine's run begins when it is first awaited, and under the run that is current then; a generator's begins with
    its first item, but under the run that was current at the call. Code that consumes a generator
    never sees the generator's run; a generator that is abandoned ends as ``cancelled``.

    Args:
        fn: What to trace, when used without parentheses.
        name: The name of the runs; the function's qualified name by default.
        kind: Their kind, as in `start_run`.
        capture: Whether to record the arguments as input, what is returned as output, or both. A generator has no
            output of its own but what it returns.
        expected: Exceptions that are not failures.

    Raises:
        ValueError: `capture` is something else.
    """
    if capture not in _CAPTURES:
        raise ValueError(f"capture is one of {', '.join(_CAPTURES)}, not {capture!r}")

    def decorate(fn: Callable[P, T]) -> Callable[P, T]:
        title = name or getattr(fn, "__qualname__", None) or repr(fn)

        exceptions = expected_exceptions(expected)

        def call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
            if not current_journal().records:
                return _UnrecordedCall(title, exceptions)
            given = _arguments(fn, args, kwargs) if capture in ("input", "both") else None
            return _TracedCall(title, kind, given, exceptions, keeps_output=capture in ("output", "both"))

        return wrap_calls(fn, call)

    return decorate if fn is None else decorate(fn)


class _UnrecordedCall(Call):
    """One call of a traced function while recording is off: it has an id of its own, and nothing else."""

    __slots__ = ("_expected", "_name", "_run_id")

    def __init__(self, name: str, expected: Expected) -> None:
        super().__init__(current_parent())
        self._run_id: RunId | None = None
        self._name = name
        self._expected = expected

    def begin(self) -> Scope:
        self._run_id = run_id = run_id_under(self.parent)
        return Scope(run_id)

    def finish(self, error: BaseException | None) -> None:
        if error is not None and self._run_id is not None:
            note_run(error, self._run_id, self._name, self._expected)


class _TracedCall(Call):
    """One call of a traced function: its run starts when the call begins, under the run of whoever called."""

    __slots__ = ("_expected", "_input", "_keeps_output", "_kind", "_name", "_run")

    def __init__(
        self, name: str, kind: str, given: Any, expected: Expected | type[BaseException], *, keeps_output: bool
    ) -> None:
        super().__init__(current_parent())
        self._name = name
        self._kind = kind
        self._input = given
        self._expected = expected
        self._keeps_output = keeps_output
        self._run: Run | None = None

    def begin(self) -> Scope:
        self._run = start_run(
            self._name,
            kind=self._kind,
            parent=ROOT if self.parent is None else self.parent,
            input=self._input,
            expected=self._expected,
        )
        self._input = None  # recorded; a long stream need not keep its arguments alive
        return self._run.begin()

    def returned(self, value: Any) -> None:
        if self._run is not None:
            self._run.end(output=value if self._keeps_output else UNSET)

    def finish(self, error: BaseException | None) -> None:
        if self._run is not None:
            self._run.finish(error)


def _arguments(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name, without the `self` or `cls` of a method."""
    import inspect  # here: it costs 10 ms to import, and only those who capture need it

    try:
        bound = inspect.signature(fn).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return {"args": args, "kwargs": kwargs}
    bound.apply_defaults()
    return {name: value for name, value in bound.arguments.items() if name not in ("self", "cls")}
