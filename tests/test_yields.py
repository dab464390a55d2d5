"""Yields: one warning for a run that is current around a `yield`, and none where that is right."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from agent_run_id import RunScopeWarning, child_env
from tests.programs import run_program

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """
import asyncio, contextlib, warnings
import agent_run_id as ari
scope = ari.RunContext(ari.RunId.generate())
def consume(generator):
    return [item for item in generator]
def aconsume(generator):
    async def all_of_it():
        return [item async for item in generator]
    return asyncio.run(all_of_it())
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
"""
TAIL = """
print(*(f"{w.category.__name__} {w.message}" for w in caught), sep="\\n")
"""

WARNED = {
    "a plain generator": """
        def stream():
            with scope:
                yield 1
        consume(stream()); consume(stream())
    """,
    "a run": """
        def stream():
            with ari.start_run("x") as run:
                run.step("s")
                yield 1
        consume(stream())
    """,
    "yield from": """
        def stream():
            with scope:
                yield from [1, 2]
        consume(stream())
    """,
    "a try inside": """
        def stream():
            with scope:
                try:
                    int("1")
                except ValueError:
                    pass
                yield 1
        consume(stream())
    """,
    "the yield inside a try inside": """
        def stream():
            with scope:
                for _ in range(2):
                    try:
                        yield 1
                    finally:
                        int("1")
        consume(stream())
    """,
    "an outer block": """
        def stream():
            with scope:
                with open("/dev/null"):
                    yield 1
        consume(stream())
    """,
    "an async generator": """
        async def stream():
            with scope:
                await asyncio.sleep(0)
                yield 1
        aconsume(stream())
    """,
    "async with": """
        async def stream():
            async with scope:
                yield 1
        aconsume(stream())
    """,
}

SILENT = {
    "no yield inside": """
        def stream():
            with scope:
                int("1")
            yield 1
            with scope:
                pass
        consume(stream())
    """,
    "a try inside, and the yield behind": """
        def stream():
            with scope:
                try:
                    int("x")
                except ValueError:
                    pass
                finally:
                    int("1")
            yield 1
        consume(stream())
    """,
    "only an await inside": """
        async def stream():
            with scope:
                await asyncio.sleep(0)
            async with scope:
                await asyncio.sleep(0)
            yield 1
        aconsume(stream())
    """,
    "a coroutine": """
        async def work():
            async with scope:
                await asyncio.sleep(0)
        asyncio.run(work())
    """,
    "a context manager": """
        @contextlib.contextmanager
        def session():
            with scope:
                yield
        with session():
            pass
    """,
    "an async context manager": """
        @contextlib.asynccontextmanager
        async def session():
            async with scope:
                yield
        async def main():
            async with session():
                pass
        asyncio.run(main())
    """,
    "a decorated generator": """
        @ari.traced
        def stream():
            with scope:
                yield 1
        consume(stream())
    """,
    "a decorated async generator": """
        @ari.traced
        async def stream():
            with scope:
                yield 1
        aconsume(stream())
    """,
}


def program(body: str) -> str:
    return HEAD + textwrap.indent(textwrap.dedent(body), "    ") + TAIL


@pytest.mark.parametrize("name", list(WARNED))
def test_a_run_around_a_yield_is_told_once_with_what_to_write(name: str) -> None:
    (told,) = run_program(program(WARNED[name])).splitlines()
    assert told.startswith(f"{RunScopeWarning.__name__} stream makes a run current around a `yield`")
    assert "@traced" in told
    assert "docs/walls.md" in told


@pytest.mark.parametrize("name", list(SILENT))
def test_where_it_is_right_nothing_is_told(name: str) -> None:
    assert run_program(program(SILENT[name])).strip() == ""


def test_where_warnings_are_errors_the_program_goes_on() -> None:
    source = """
import agent_run_id as ari
def stream():
    with ari.RunContext(ari.RunId.generate()) as scope:
        yield ari.current_run_id() == scope.run_id
print(list(stream()))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source], capture_output=True, text=True, check=True, env=child_env()
    )
    assert done.stdout.strip() == "[True]"
    assert done.stderr.count("RunScopeWarning") == 1
    assert "<string>:4" in done.stderr


def test_a_pytest_fixture_that_yields_inside_a_run_is_right(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        textwrap.dedent("""
            import pytest
            import agent_run_id as ari

            @pytest.fixture
            def run():
                with ari.start_run("fixture") as run:
                    yield run

            @pytest.fixture
            async def arun():
                async with ari.start_run("fixture") as run:
                    yield run

            @pytest.fixture
            def anyio_backend():
                return "asyncio"

            def test_sync(run):
                assert ari.current_run() is run

            @pytest.mark.anyio
            async def test_async(arun):
                assert arun.id
        """)
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=child_env(),
        cwd=tmp_path,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert "RunScopeWarning" not in done.stdout + done.stderr
