"""``runid exec``: any program as a run, which notices nothing of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent_run_id import RunId, start_run
from agent_run_id.cli.exec import SUMMARY
from tests.commands import EXEC, environment, is_harmless, runid, without
from tests.programs import run_program
from tests.test_package import HEAVY

if TYPE_CHECKING:
    from agent_run_id import RunRegistry
    from agent_run_id.schema import RunRecord


def only(registry: RunRegistry) -> RunRecord:
    """The one run that was recorded."""
    (record,) = registry.find()
    return record


# How it ends ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0, 1, 3, 255])
def test_its_exit_status_is_ours_and_decides_whether_the_run_succeeded(status: int, registry: RunRegistry) -> None:
    done = runid("exec", "--", "sh", "-c", f"exit {status}")
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")
    record = only(registry)
    assert record.status == ("failed" if status else "succeeded")
    assert record.attributes == {"exit_status": status}
    assert (record.error and record.error.message) == (f"exited with status {status}" if status else None)
    assert record.elapsed is not None


@pytest.mark.parametrize("name", ["no-such-program", "/no/such/program", "", "no\x1b[31m"])
def test_a_program_that_is_not_there_ends_with_127_and_a_failed_run(name: str, registry: RunRegistry) -> None:
    done = runid("exec", "--", name)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (127, "", 1)
    assert is_harmless(done.stderr)
    record = only(registry)
    assert (record.status, record.attributes) == ("failed", {"exit_status": 127})
    assert record.error is not None
    assert record.error.message == "cannot be started: No such file or directory"


def test_a_program_that_cannot_be_run_ends_with_126_and_a_failed_run(tmp_path: Path, registry: RunRegistry) -> None:
    (tmp_path / "letter").touch(mode=0o600)
    done = runid("exec", str(tmp_path / "letter"))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (126, "", 1)
    record = only(registry)
    assert (record.name, record.status, record.attributes) == ("letter", "failed", {"exit_status": 126})


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ([], "no program"),
        (["--"], "no program"),
        (["--name", "one"], "no program"),
        (["--colour", "red", "true"], "'--colour'"),
        (["--help=me"], "'--help'"),
        (["-n", "one", "true"], "'-n'"),
        (["--name"], "--name needs a value"),
    ],
)
def test_what_is_not_understood_ends_with_2_and_nothing_is_run_or_recorded(
    arguments: list[str], hint: str, registry: RunRegistry
) -> None:
    done = runid("exec", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert hint in done.stderr
    assert "`runid exec --help` tells what can be typed" in done.stderr
    assert not list(registry.find())


def test_help_tells_of_it() -> None:
    told = runid("exec", "--help")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith("Usage: runid exec ")
    assert runid("exec", "-h").stdout == told.stdout
    assert SUMMARY in told.stdout
    assert SUMMARY in runid("--help").stdout


# What is recorded -----------------------------------------------------------------------------------------------------


def test_the_run_is_called_as_the_program_unless_one_says_otherwise(registry: RunRegistry) -> None:
    runid("exec", "/bin/sh", "-c", "true")
    record = only(registry)
    assert (record.name, record.kind, record.key, record.tags) == ("sh", "process", None, ())
    runid("exec", "--name", "night", "--kind=batch", "--key", "k-1", "--tag", "a", "--tag=b=c", "--", "true", "--name")
    (record,) = registry.find(key="k-1")
    assert (record.name, record.kind, record.tags) == ("night", "batch", ("a", "b=c"))


def test_arguments_are_not_recorded(registry: RunRegistry) -> None:
    runid("exec", "--", "sh", "-c", "true", "s3cret")
    assert only(registry).name == "sh"
    journals = list(Path(environment()["AGENT_RUN_DIR"]).rglob("*.jsonl"))
    assert journals
    assert not any(b"s3cret" in journal.read_bytes() for journal in journals)


def test_it_is_a_root_outside_any_run(registry: RunRegistry) -> None:
    done = runid("exec", "--", "sh", "-c", "echo $AGENT_RUN_ID")
    assert RunId.from_token(done.stdout.strip()).is_root
    assert only(registry).run_id.token == done.stdout.strip()


def test_programs_nest_with_their_whole_lineage(registry: RunRegistry) -> None:
    innermost = "import agent_run_id as ari\nwith ari.start_run('three') as run: print(run.id.token)"
    inner = (*EXEC, "--name", "two", "--", sys.executable, "-c", innermost)
    with start_run("top") as top:
        done = runid("exec", "--name", "one", "--", *inner)
    assert done.returncode == 0, done.stderr
    (one,) = registry.children(top.id)
    (two,) = registry.children(one.id)
    (three,) = registry.children(two.id)
    assert [record.name for record in (one, two, three)] == ["one", "two", "three"]
    root = top.id.value
    assert one.run_id.token == f"{one.id}.{root}.{root}.1"
    assert two.run_id.token == f"{two.id}.{one.id}.{root}.2"
    assert three.run_id.token == f"{three.id}.{two.id}.{root}.3" == done.stdout.strip()


def test_where_runs_may_be_no_deeper_nothing_is_run(registry: RunRegistry) -> None:
    deeper = (*EXEC, "--", *EXEC, "--", "echo", "too deep")
    with start_run("top"):
        done = runid(*deeper[3:], AGENT_RUN_MAX_DEPTH="1")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (126, "", 1)
    assert len(list(registry.find())) == 2


def test_the_ends_of_a_pipeline_are_runs_side_by_side(registry: RunRegistry) -> None:
    pipeline = '"$@" exec --name left -- yes | "$@" exec --name right -- head -n 1'
    with start_run("top") as top:
        done = subprocess.run(
            ["sh", "-c", pipeline, "sh", *EXEC[:-1]],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "y\n", "")
    left, right = sorted(registry.children(top.id), key=lambda record: record.name or "")
    assert (left.name, left.status, left.attributes) == ("left", "failed", {"signal": "SIGPIPE"})
    assert (right.name, right.status) == ("right", "succeeded")


# What the program notices ---------------------------------------------------------------------------------------------


IS_OPEN = """
import os
def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
"""


def bare_and_run(*command: str, **options: object) -> list[str]:
    """What a program prints by itself, and as a run."""
    given = {"env": environment(), "stdin": subprocess.DEVNULL, **options}
    return [
        subprocess.run([*before, *command], stdout=subprocess.PIPE, text=True, timeout=300, check=True, **given).stdout  # type: ignore[call-overload]
        for before in ((), EXEC)
    ]


def test_what_it_reads_and_writes_passes_untouched() -> None:
    data = os.urandom(300_000)
    done = subprocess.run(
        [*EXEC, "sh", "-c", "cat; echo done >&2"],
        env=environment(),
        input=data,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert (done.stdout, done.stderr) == (data, b"done\n")


def test_it_inherits_every_descriptor_and_none_of_ours() -> None:
    program = f'{IS_OPEN}\nprint([fd for fd in range(256) if is_open(fd)], os.read(int(os.environ["READER"]), 9))'
    readers = []
    for _ in range(2):
        reader, writer = os.pipe()
        os.write(writer, b"inherited")
        os.close(writer)
        readers.append(reader)
    try:
        heard = [
            subprocess.run(
                [*before, sys.executable, "-c", program],
                env=environment(READER=str(reader)),
                pass_fds=readers,
                stdout=subprocess.PIPE,
                text=True,
                timeout=300,
                check=True,
            ).stdout
            for before, reader in zip(((), EXEC), readers, strict=True)
        ]
    finally:
        for reader in readers:
            os.close(reader)
    assert heard[0] == heard[1]
    assert "inherited" in heard[1]


def test_standard_descriptors_that_are_closed_stay_closed(registry: RunRegistry) -> None:
    program = f"{IS_OPEN}\nos._exit(8 + sum(fd + 1 for fd in range(3) if is_open(fd)))"
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *EXEC, sys.executable, "-c", program],
        env=environment(),
        timeout=300,
        check=False,
    )
    assert done.returncode == 8
    assert only(registry).attributes == {"exit_status": 8}


@pytest.mark.parametrize("locale", [{}, {"LC_CTYPE": "C.UTF-8"}, {"LC_ALL": "C"}, {"LANG": "en_GB.UTF-8"}])
def test_its_environment_is_ours_and_the_run(locale: dict[str, str]) -> None:
    env = {"PATH": os.environ["PATH"], "AGENT_RUN_DIR": environment()["AGENT_RUN_DIR"], "ODD": "\udcff a=b", **locale}
    bare, run = (
        set(
            subprocess.run([*before, "env", "-0"], env=env, stdout=subprocess.PIPE, timeout=300, check=True)
            .stdout.rstrip(b"\0")
            .split(b"\0")
        )
        for before in ((), EXEC)
    )
    assert bare <= run
    assert {pair.partition(b"=")[0] for pair in run - bare} == {b"AGENT_RUN_ID", b"TRACEPARENT", b"TRACESTATE"}


def test_it_runs_in_our_process_group_session_and_directory(tmp_path: Path) -> None:
    program = "import os; print(os.getpgrp(), os.getsid(0), os.getcwd(), os.umask(0))"
    bare, run = bare_and_run(sys.executable, "-c", program, cwd=tmp_path, umask=0o027)
    assert run == bare


def test_it_is_found_where_a_shell_finds_it(tmp_path: Path) -> None:
    for name, mode, text in (("a", 0o600, ""), ("b", 0o700, "echo without an interpreter: $1\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "found").write_text(text)
        (tmp_path / name / "found").chmod(mode)
    path = f"{tmp_path / 'none'}:{tmp_path / 'a'}:{tmp_path / 'b'}:{os.environ['PATH']}"
    done = runid("exec", "--", "found", "so", PATH=path)
    assert (done.returncode, done.stdout) == (0, "without an interpreter: so\n")
    assert runid("exec", "--", "found", PATH=f"{tmp_path / 'a'}:{tmp_path / 'none'}").returncode == 126


# What it costs, and what it needs -------------------------------------------------------------------------------------


def test_nothing_heavy_is_loaded() -> None:
    program = f"""
        import sys
        before = set(sys.modules)
        from agent_run_id.cli import main
        sys.argv = ["runid", "exec", "--tag", "t", "--", "true"]
        main()
        new = {{name.partition(".")[0] for name in set(sys.modules) - before}}
        print("agent_run_id" in new, *sorted(({HEAVY!r} | {{"subprocess", "pathlib", "argparse"}}) & new))
    """
    assert run_program(program).split() == ["True"]


def test_it_needs_no_extra(registry: RunRegistry) -> None:
    program = without(("cyclopts", "rich", "pydantic", "anyio"))
    done = subprocess.run(
        [sys.executable, "-c", program, "exec", "sh", "-c", "echo here; exit 5"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (5, "here\n", "")
    assert only(registry).attributes == {"exit_status": 5}


def test_where_recording_is_off_it_runs_all_the_same() -> None:
    done = runid("exec", "sh", "-c", "echo $AGENT_RUN_ID; exit 5", AGENT_RUN_DIR="off")
    assert (done.returncode, done.stderr) == (5, "")
    assert RunId.from_token(done.stdout.strip()).is_root


def test_where_the_directory_cannot_be_used_it_runs_all_the_same_and_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = runid("exec", "sh", "-c", "echo here; exit 5", AGENT_RUN_DIR=str(tmp_path / "file"))
    assert (done.returncode, done.stdout) == (5, "here\n")
    assert done.stderr.count("RuntimeWarning") == 1
