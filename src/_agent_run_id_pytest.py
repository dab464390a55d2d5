"""What pytest loads of agent_run_id in every session where it is installed: as little as possible.

It is not in the package, because importing a module of a package imports the package: 40 ms in each process of each
session, also of those that only have it installed, and the environment would be read before a `conftest.py` has
prepared it. What does the work is imported by the first test that asks for it: see `agent_run_id.pytest_plugin`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

    from agent_run_id import RunRegistry
    from agent_run_id.pytest_plugin import Watched

_WATCHED: pytest.StashKey[Watched] = pytest.StashKey()
_MARKERS = (
    "open_runs: the test may leave runs open; without it, the fixture `runs` makes an error of that",
    "fixed_runs(seed=0, start=…, step=…): what `runs` records has the same ids and times every time",
)


def pytest_configure(config: pytest.Config) -> None:
    """Make the markers known."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)


@pytest.fixture
def runs(request: pytest.FixtureRequest) -> Generator[RunRegistry]:
    """A `RunRegistry` of what this test records, which goes into a directory of its own.

    A test that leaves a run open has an error, unless it is marked with `open_runs`, or has failed anyway. The report
    of a test that fails shows the trees of its runs.
    """
    from agent_run_id.pytest_plugin import watched

    with watched(request.node) as found:
        request.node.stash[_WATCHED] = found
        yield found.registry


@pytest.hookimpl(hookwrapper=True)  # the old kind, which every pytest understands
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Show in the report of a test that fails what it recorded."""
    outcome = yield
    found = item.stash.get(_WATCHED, None)
    if found is not None:
        found.report(outcome.get_result())
