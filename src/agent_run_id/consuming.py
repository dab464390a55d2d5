"""Consuming: the loop of a worker, which takes messages one after the other and handles each in its run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from agent_run_id.handing import accept
from agent_run_id.inbound import check_policy
from agent_run_id.outcomes import expected_exceptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
    from typing import Unpack

    from agent_run_id.handing import Accepted
    from agent_run_id.inbound import Policy
    from agent_run_id.outcomes import Expected
    from agent_run_id.signing import SigningKeys

__all__ = ["aconsume", "consume"]

M = TypeVar("M")


class _Options(TypedDict, total=False):
    """What `accept` is given for every message alike."""

    name: str
    kind: str
    policy: Policy
    keys: SigningKeys | None
    expected: Expected | type[BaseException]


def consume(
    messages: Iterable[M],
    handle: Callable[[Accepted[Any]], object],
    *,
    body: Callable[[M], Any] | None = None,
    headers: Callable[[M], Any] | None = None,
    attempt: Callable[[M], int | None] | None = None,
    acknowledge: Callable[[M], object] | None = None,
    reject: Callable[[M, Exception], object] | None = None,
    **options: Unpack[_Options],
) -> None:
    """Handle messages one after the other, each in the run that `accept` gives for it.

    A message is acknowledged when its run has ended well, that of a duplicate, too: raise in the handler where it is to
    come again. What a handler raises has failed the run by then; it goes to `reject`, and the loop goes on. Without
    `reject` the loop ends with it, as with whatever is no `Exception`.

    Args:
        messages: What comes from the queue, in the client's own form, as long as it comes.
        handle: Does the work; what it returns is not looked at.
        body: Gives the body of a message; by default the message itself is it.
        headers: Gives its headers, where the broker has some.
        attempt: Gives the how manieth delivery it is, from 1, where the broker says.
        acknowledge: Tells the broker that a message is done.
        reject: Tells the broker that it is not, with what went wrong.
        **options: As for `accept`, for every message alike.

    Raises:
        ConfigurationError: (a `ValueError`) there is no such policy.
        TypeError: `expected` is no exception class.
    """
    _check(options)
    for message in messages:
        try:
            with _accepted(message, body, headers, attempt, options) as run:
                handle(run)
        except Exception as error:
            if reject is None:
                raise
            reject(message, error)
        else:
            if acknowledge is not None:
                acknowledge(message)


async def aconsume(
    messages: AsyncIterable[M],
    handle: Callable[[Accepted[Any]], Awaitable[object]],
    *,
    body: Callable[[M], Any] | None = None,
    headers: Callable[[M], Any] | None = None,
    attempt: Callable[[M], int | None] | None = None,
    acknowledge: Callable[[M], Awaitable[object]] | None = None,
    reject: Callable[[M, Exception], Awaitable[object]] | None = None,
    **options: Unpack[_Options],
) -> None:
    """Handle messages of an async iterator, with coroutine functions; otherwise as `consume`.

    Raises:
        ConfigurationError: (a `ValueError`) there is no such policy.
        TypeError: `expected` is no exception class.
    """
    _check(options)
    async for message in messages:
        try:
            async with _accepted(message, body, headers, attempt, options) as run:
                await handle(run)
        except Exception as error:
            if reject is None:
                raise
            await reject(message, error)
        else:
            if acknowledge is not None:
                await acknowledge(message)


def _check(options: _Options) -> None:
    """Let a mistake in the call be no fault of a message."""
    check_policy(options.get("policy", "trust"))
    expected_exceptions(options.get("expected", ()))


def _accepted(
    message: M,
    body: Callable[[M], Any] | None,
    headers: Callable[[M], Any] | None,
    attempt: Callable[[M], int | None] | None,
    options: _Options,
) -> Accepted[Any]:
    return accept(
        message if body is None else body(message),
        headers=None if headers is None else headers(message),
        attempt=None if attempt is None else attempt(message),
        **options,
    )
