"""What every test gets: its own place to record, and every event loop we promise to work on."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from tests import servers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_run_id import RunRegistry

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", parent=settings.get_profile("default"), max_examples=300)
settings.load_profile("thorough" if os.environ.get("THOROUGH") else "default")


def _eager_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined, unused-ignore]  # Python 3.12
    return loop


BACKENDS: list[Any] = [
    pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    pytest.param(("trio", {}), id="trio"),
]
if sys.version_info >= (3, 12):
    BACKENDS.insert(1, pytest.param(("asyncio", {"loop_factory": _eager_loop}), id="eager"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look for the servers that a test needs before anything is set up for it."""
    for marker in item.iter_markers("service"):
        for server in marker.args:
            servers.require(server)


@pytest.fixture(params=BACKENDS)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Every event loop: asyncio with lazy and with eager tasks, uvloop, trio."""
    return request.param


@pytest.fixture(autouse=True)
def registry(runs: RunRegistry) -> RunRegistry:
    """Nothing a test records leaves the test, and none leaves a run open unless it says so; this is where to look."""
    return runs


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A place that every user can get to."""
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o777)
        yield Path(temporary)
