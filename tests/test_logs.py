"""Logs: the run's id on every line."""

from __future__ import annotations

import io
import logging
import logging.handlers
import queue
import textwrap
import threading
from typing import TYPE_CHECKING

import pytest

from agent_run_id import RunContext, RunId, RunIdFilter, child_env, setup_logging
from agent_run_id.logs import FORMAT, reset_logging
from tests.programs import run_program

if TYPE_CHECKING:
    from collections.abc import Iterator

ALL = "%(run_id)s|%(root_run_id)s|%(parent_run_id)s|%(run_depth)s|%(message)s"


@pytest.fixture
def child() -> RunId:
    return RunId.generate(parent=RunId.generate(parent=RunId.generate()))


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """A root logger with one handler of the user's, as it was afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter(ALL))
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    yield text
    root.handlers[:] = handlers
    root.setLevel(level)
    reset_logging()


def line_of(run_id: RunId, message: str) -> str:
    return f"{run_id.value}|{run_id.root_id}|{run_id.parent_id}|{run_id.depth}|{message}\n"


def test_the_filter_on_a_handler_stamps_all_four_names(child: RunId, stream: io.StringIO) -> None:
    logging.getLogger().handlers[0].addFilter(RunIdFilter())
    with RunContext(child):
        logging.getLogger("a.child.logger").info("hello")
    logging.getLogger("a").info("outside")
    assert stream.getvalue() == f"{line_of(child, 'hello')}-|-|-|-|outside\n"


def test_the_filter_can_be_short_and_have_another_placeholder(child: RunId, stream: io.StringIO) -> None:
    logging.getLogger().handlers[0].addFilter(RunIdFilter(short=True, placeholder="none"))
    with RunContext(child):
        logging.info("hello")  # noqa: LOG015
    root = RunId.generate()
    with RunContext(root):
        logging.info("root")  # noqa: LOG015
    assert stream.getvalue().splitlines() == [
        f"{child.short()}|{child.root_id[:8]}|{(child.parent_id or '')[:8]}|2|hello",
        f"{root.short()}|{root.short()}|none|0|root",
    ]


def test_the_filter_on_the_root_logger_reaches_child_loggers_too(child: RunId, stream: io.StringIO) -> None:
    logging.getLogger().addFilter(stamp := RunIdFilter())
    try:
        with RunContext(child):
            logging.getLogger("a.child.logger").info("hello")
            logging.getLogger().info("at the root")
    finally:
        logging.getLogger().removeFilter(stamp)
    assert stream.getvalue() == line_of(child, "hello") + line_of(child, "at the root")


def test_each_handler_shows_ids_as_its_own_filter_says(child: RunId, stream: io.StringIO) -> None:
    root = logging.getLogger()
    second = io.StringIO()
    handler = logging.StreamHandler(second)
    handler.setFormatter(logging.Formatter("%(run_id)s"))
    handler.addFilter(RunIdFilter(short=True))
    root.handlers[0].addFilter(RunIdFilter())
    root.addHandler(handler)
    with RunContext(child):
        logging.getLogger("x").info("hello", extra={"root_run_id": "mine"})
    assert stream.getvalue() == f"{child.value}|mine|{child.parent_id}|{child.depth}|hello\n"
    assert second.getvalue() == f"{child.short()}\n"


def test_a_record_sent_to_a_program_without_this_library_is_plain_data(child: RunId, stream: io.StringIO) -> None:
    handler = logging.handlers.SocketHandler("localhost", 1)
    record = logging.makeLogRecord({"msg": "hello"})
    with RunContext(child):
        RunIdFilter().filter(record)
    assert b"agent_run_id" not in handler.makePickle(record)
    assert child.value.encode() in handler.makePickle(record)


def test_setup_stamps_records_of_every_logger_for_handlers_that_exist(child: RunId, stream: io.StringIO) -> None:
    setup_logging()
    logger = logging.getLogger("lib.sub")
    with RunContext(child):
        logger.info("hello")
    assert stream.getvalue() == line_of(child, "hello")


def test_setup_stamps_records_for_handlers_that_come_later_on_loggers_that_do_not_propagate(
    child: RunId, stream: io.StringIO
) -> None:
    setup_logging()
    logger = logging.getLogger("stubborn")
    logger.propagate = False
    later = io.StringIO()
    handler = logging.StreamHandler(later)
    handler.setFormatter(logging.Formatter(ALL))
    logger.addHandler(handler)
    with RunContext(child):
        logger.warning("hello")
    logger.removeHandler(handler)
    logger.propagate = True
    assert later.getvalue() == line_of(child, "hello")
    assert stream.getvalue() == ""


def test_a_users_own_extra_is_kept_and_raises_nothing(child: RunId, stream: io.StringIO) -> None:
    setup_logging()
    with RunContext(child):
        logging.getLogger("x").info("hello", extra={"run_id": "mine"})
    assert stream.getvalue() == f"mine|{child.root_id}|{child.parent_id}|{child.depth}|hello\n"


def test_a_queue_handler_carries_the_run_of_the_thread_that_logged(child: RunId, stream: io.StringIO) -> None:
    setup_logging()
    root = logging.getLogger()
    target = root.handlers[0]
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    root.handlers[:] = [logging.handlers.QueueHandler(records)]
    listener = logging.handlers.QueueListener(records, target)
    listener.start()
    with RunContext(child):
        logging.getLogger("queued").info("hello")
    listener.stop()
    assert stream.getvalue() == line_of(child, "hello")


def test_threads_each_log_their_own_run(stream: io.StringIO) -> None:
    setup_logging()
    ids = [RunId.generate(parent=RunId.generate()) for _ in range(8)]
    barrier = threading.Barrier(8)

    def log(run_id: RunId) -> None:
        with RunContext(run_id):
            barrier.wait()
            for _ in range(50):
                logging.getLogger("t").info(run_id.value)

    threads = [threading.Thread(target=log, args=[run_id]) for run_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(stream.getvalue().splitlines()) == sorted(
        line_of(run_id, run_id.value).strip() for run_id in ids for _ in range(50)
    )


def test_setup_twice_stamps_once_and_changes_what_was_said(child: RunId, stream: io.StringIO) -> None:
    setup_logging()
    setup_logging(short=True, placeholder="?")
    with RunContext(child):
        logging.getLogger("x").info("hello")
    logging.getLogger("x").info("outside")
    assert stream.getvalue().splitlines() == [
        f"{child.short()}|{child.root_id[:8]}|{(child.parent_id or '')[:8]}|2|hello",
        "?|?|?|?|outside",
    ]


def test_reset_leaves_logging_as_it_was(stream: io.StringIO) -> None:
    before = logging.Logger.handle
    setup_logging()
    assert logging.Logger.handle is not before
    reset_logging()
    assert logging.Logger.handle is before


def test_a_program_with_no_configuration_gets_a_handler_that_shows_the_run() -> None:
    program = """
        import logging, sys, agent_run_id as ari
        ari.setup_logging(level="INFO", stream=sys.stdout)
        with ari.RunContext(ari.RunId.generate(parent=ari.RunId.generate())) as scope:
            logging.getLogger("tool").info("hello")
        print(scope.run_id.token)
        logging.getLogger().handlers[0].handle(logging.makeLogRecord({"msg": "made by hand"}))
    """
    shown, token, made = run_program(program).splitlines()
    run_id = RunId.from_token(token)
    assert shown.endswith(f"INFO tool [root={run_id.root_id} run={run_id.value}] hello")
    assert made.endswith("[root=- run=-] made by hand")
    assert "%(root_run_id)s" in FORMAT


def test_one_grep_for_the_root_finds_the_whole_tree_in_the_logs_of_three_processes() -> None:
    program = textwrap.dedent("""
        import logging, subprocess, sys, agent_run_id as ari
        left, source = int(sys.argv[1]), sys.argv[2]
        ari.setup_logging(level="INFO", stream=sys.stdout)
        log = logging.getLogger("agent")
        ari.isolated(log.info)("noise outside")
        with ari.start_run("level") as run:
            log.info("begin")
            with ari.start_run("tool"):
                logging.getLogger("agent.tool.deep").warning("working")
            if left:
                sys.stdout.flush()
                subprocess.run([sys.executable, "-c", source, str(left - 1), source], env=ari.child_env())
            log.info("end")
    """)
    root = RunId.generate()
    with RunContext(root):
        lines = run_program(program, "2", program, env=child_env()).splitlines()
    assert len(lines) == 3 * 4
    found = [line for line in lines if root.value in line]
    assert len(found) == 3 * 3
    assert all("noise" in line for line in lines if line not in found)
