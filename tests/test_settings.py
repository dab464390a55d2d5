"""Settings: where runs are recorded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from agent_run_id import ConfigurationError, StoreError, configure, settings, start_run
from tests.programs import run_program

if TYPE_CHECKING:
    from pathlib import Path

WHERE = "from agent_run_id import settings; print(settings.directory())"


def env_without(*names: str, **more: str) -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if name not in names}, **more}


def test_the_environment_names_the_directory(tmp_path: Path) -> None:
    env = env_without(AGENT_RUN_DIR=str(tmp_path / "runs"))
    assert run_program(WHERE, env=env).strip() == str(tmp_path / "runs")


def test_the_default_is_the_users_state_directory(tmp_path: Path) -> None:
    plain = env_without("AGENT_RUN_DIR", "XDG_STATE_HOME", HOME=str(tmp_path))
    assert run_program(WHERE, env=plain).strip().startswith(str(tmp_path))
    xdg = env_without("AGENT_RUN_DIR", HOME="/nowhere", XDG_STATE_HOME=str(tmp_path))
    if os.uname().sysname != "Darwin":
        assert run_program(WHERE, env=xdg).strip() == str(tmp_path / "agent-run-id")


def test_a_relative_xdg_directory_is_ignored_as_its_specification_says(tmp_path: Path) -> None:
    env = env_without("AGENT_RUN_DIR", HOME=str(tmp_path), XDG_STATE_HOME="state")
    assert run_program(WHERE, env=env).strip().startswith(str(tmp_path))


def test_off_is_no_directory() -> None:
    assert run_program(WHERE, env=env_without(AGENT_RUN_DIR="off")).strip() == "None"


def test_configure_beats_the_environment_and_none_goes_back(tmp_path: Path) -> None:
    before = settings.configured_directory()
    try:
        configure(directory=tmp_path)
        assert settings.directory() == str(tmp_path)
        configure(directory="off")
        assert settings.directory() is None
        start_run("nowhere").end()
        configure(max_depth=100)
        assert settings.directory() is None
        configure(directory=None)
        assert settings.configured_directory() is None
    finally:
        configure(directory=before, max_depth=65_535)
    assert list(tmp_path.iterdir()) == []


def test_a_relative_directory_stays_where_it_was_when_the_program_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = settings.configured_directory()
    monkeypatch.chdir(tmp_path)
    configure(directory="runs")
    try:
        monkeypatch.chdir("/")
        assert settings.directory() == str(tmp_path / "runs")
    finally:
        configure(directory=before)


@pytest.mark.parametrize("value", ["", 3, b"x", "a\0b", object()])
def test_what_is_no_path_is_refused_and_changes_nothing(value: Any) -> None:
    before = settings.configured_directory()
    with pytest.raises(ConfigurationError, match="'off' or None"):
        configure(directory=value)
    assert settings.configured_directory() == before


def test_without_a_home_the_error_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    before = settings.configured_directory()
    monkeypatch.delenv("AGENT_RUN_DIR", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    configure(directory=None)
    try:
        with pytest.raises(StoreError, match="AGENT_RUN_DIR"):
            settings.directory()
    finally:
        configure(directory=before)
    assert isinstance(StoreError("x"), OSError)


# How long, how much, and when to wait for the disk --------------------------------------------------------------------

DAYS, SIZE = 30, 5 * 1024**3
TELL = "from agent_run_id import settings; print(*settings.retention(), settings.fsync())"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (DAYS, SIZE, "never")),
        ({"DAYS": "7", "BYTES": "1000000"}, (7.0, 1_000_000, "never")),
        ({"DAYS": "0.5", "BYTES": "1e9"}, (0.5, 10**9, "never")),
        ({"DAYS": "off"}, (None, SIZE, "never")),
        ({"BYTES": "off"}, (DAYS, None, "never")),
        *[
            ({"DAYS": odd, "BYTES": odd}, (DAYS, SIZE, "never"))
            for odd in ("", "many", "0", "-1", "nan", "inf", "1 GiB")
        ],
        ({"FSYNC": "ends"}, (DAYS, SIZE, "ends")),
        ({"FSYNC": "always"}, (DAYS, SIZE, "always")),
        ({"FSYNC": "sometimes"}, (DAYS, SIZE, "never")),
    ],
    ids=str,
)
def test_what_is_kept_is_what_the_environment_says_where_it_can_be_understood(
    variables: dict[str, str], expected: tuple[float | None, int | None, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"DAYS": settings.DAYS_VARIABLE, "BYTES": settings.BYTES_VARIABLE, "FSYNC": settings.FSYNC_VARIABLE}
    for short, name in names.items():
        monkeypatch.delenv(name, raising=False)
        if short in variables:
            monkeypatch.setenv(name, variables[short])
    assert (*settings.retention(), settings.fsync()) == expected


@pytest.mark.parametrize("name", ["retention_days", "retention_bytes"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "30", b"30", [1]])
def test_what_is_no_amount_is_refused_and_changes_nothing(name: str, value: Any) -> None:
    before = settings.retention()
    with pytest.raises(ConfigurationError, match=f"{name} is a number above 0, or None"):
        configure(**{name: value})
    assert settings.retention() == before


@pytest.mark.parametrize("value", [None, "", "end", 1, ["ends"]])
def test_what_is_no_policy_is_refused_and_changes_nothing(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="one of never, ends, always"):
        configure(fsync=value)
    assert settings.fsync() == "never"


IN_CHILDREN = """
import multiprocessing, os, subprocess, sys
import agent_run_id as ari
from agent_run_id import settings
ari.configure(retention_days=None, retention_bytes=1_000_000, fsync="ends", directory="off")
tell = "from agent_run_id import settings; print(*settings.retention(), settings.fsync(), flush=True)"
if __name__ == "__main__":
    subprocess.run([sys.executable, "-c", tell], env=ari.child_env(), check=True)
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        process = ari.BoundProcess(target=exec, args=(tell,), context=context)
        process.start()
        process.join()
        with ari.BoundProcessPoolExecutor(1, mp_context=context) as pool:
            print(*pool.submit(settings.retention).result(), pool.submit(settings.fsync).result(), flush=True)
"""


def test_children_keep_and_wait_as_their_parent_was_told_to() -> None:
    """Those that `child_env` starts, and those of `multiprocessing`, whatever their start method."""
    env = env_without(AGENT_RUN_RETENTION_DAYS="3", AGENT_RUN_RETENTION_BYTES="4", AGENT_RUN_FSYNC="always")
    assert run_program(IN_CHILDREN, env=env).splitlines() == ["None 1000000 ends"] * 7


def test_what_was_not_said_is_left_to_the_environment_of_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(settings.DAYS_VARIABLE, "3")
    monkeypatch.delenv(settings.FSYNC_VARIABLE, raising=False)
    assert run_program(TELL).split() == ["3.0", str(SIZE), "never"]
