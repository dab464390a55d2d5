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
