"""The exceptions of this library, in one tree.

Every leaf is also a subclass of the builtin exception it specialises, so code that catches `ValueError` or
`LookupError` keeps working without knowing this library::

    AgentRunError
    ├── InvalidRunIdError    (ValueError)      the text is not an id
    │   └── InvalidTokenError                  the text is not a token: an id with its lineage
    ├── RunDepthError        (RecursionError)  runs are nested deeper than allowed
    ├── ConfigurationError   (ValueError)      `configure` was given something it cannot use
    ├── InvalidCursorError   (ValueError)      a watch was to go on from something that is no cursor
    ├── InvalidTreeTextError (ValueError)      a test says what runs there should be in a way that is not understood
    ├── MissingExtraError    (ImportError)     something is not installed that only some of this needs
    ├── StoreError           (OSError)         the directory with the journals cannot be used
    └── RunNotFound          (LookupError)     no run has this id, or more than one begins with it

and one warning, `RunScopeWarning`, for code that cannot do what it seems to.
"""

from __future__ import annotations

__all__ = [
    "AgentRunError",
    "ConfigurationError",
    "InvalidCursorError",
    "InvalidRunIdError",
    "InvalidTokenError",
    "InvalidTreeTextError",
    "MissingExtraError",
    "RunDepthError",
    "RunNotFound",
    "RunScopeWarning",
    "StoreError",
]


class AgentRunError(Exception):
    """The root of every exception this library raises on purpose."""


class InvalidRunIdError(AgentRunError, ValueError):
    """A text is not a run id; the message says what is wrong with it."""


class InvalidTokenError(InvalidRunIdError):
    """A text is not a token; the message says which part of it is wrong."""


class RunDepthError(AgentRunError, RecursionError):
    """A child would be deeper than the limit: usually agents that start each other without end."""


class ConfigurationError(AgentRunError, ValueError):
    """A setting has a value that cannot be used; the message says which one can."""


class InvalidCursorError(AgentRunError, ValueError):
    """A text is not the cursor of a watch; the message says what is."""


class InvalidTreeTextError(AgentRunError, ValueError):
    """A text that says what runs there should be is not understood; the message says which line, and why."""


class MissingExtraError(AgentRunError, ImportError):
    """A package is not installed that what was asked for needs; the message says what to install."""


class StoreError(AgentRunError, OSError):
    """The directory with the journals cannot be read; the message says what to set."""


class RunNotFound(AgentRunError, LookupError):  # noqa: N818 - a name of the contract
    """No run answers to a reference, or more than one does.

    Attributes:
        reference: What was looked for.
        candidates: The full ids that begin with `reference`, when it is ambiguous; empty when nothing matches.
    """

    reference: str
    candidates: tuple[str, ...]

    def __init__(self, reference: str, candidates: tuple[str, ...] = ()) -> None:
        self.reference = reference
        self.candidates = candidates
        if candidates:
            listed = ", ".join(candidates[:5]) + (", …" if len(candidates) > 5 else "")
            message = f"{reference!r} could be any of {len(candidates)} runs: {listed}; type more of the id"
        else:
            message = (
                f"no run is known as {reference!r}; give a full id or its first characters (`runid ls` lists them)"
            )
        super().__init__(message)

    def __reduce__(self) -> tuple[type[RunNotFound], tuple[str, tuple[str, ...]]]:
        return (RunNotFound, (self.reference, self.candidates))


class RunScopeWarning(UserWarning):
    """A run is made current around a `yield`, where the consumer of the generator sees it too."""
