"""Every Python block and every `runid` command of README.md and of docs/ is run, and its output compared.

One page is one test: its blocks share names and a recording directory and mean something in their order only, so
neither a plugin that shuffles tests nor one that hands them to several workers may part them. Sybil finds the blocks.

A page is written as if it had been typed. What the blocks before it printed stands in a block of plain text or JSON;
a block that prints is followed by what it prints. Ids, times, durations and process details differ in every run, so
those are compared by what they are, not by their digits - but an id of a page stands for one run throughout the page:
two ids that are equal on the page must be equal in the run, and a command may name a run by its id on the page.
"""

from __future__ import annotations

import contextlib
import contextvars
import io
import logging
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import hypothesis
import pytest
from sybil import Document, Example
from sybil.evaluators.python import PythonEvaluator
from sybil.example import SybilFailure
from sybil.parsers.markdown import CodeBlockParser

from agent_run_id import configure
from agent_run_id.ids import depth_limit
from agent_run_id.journal import recording_in
from agent_run_id.logs import reset_logging
from agent_run_id.settings import configured_directory, directory, signing_keys

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

# Logfire, which one test patches beside, would have pydantic load it, and all it needs, in every process of the tests.
os.environ["PYDANTIC_DISABLE_PLUGINS"] = "logfire-plugin"

# No example of a page fails because a machine is busy.
hypothesis.settings.register_profile("pages", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("pages")

HERE: Final = Path(__file__).parent
PAGES: Final = frozenset({HERE / "README.md", *(HERE / "docs").glob("*.md")})

NOT_RUN: Final = "# Not run here: "
"""How a block that is not run begins; the reason follows, for the reader to see."""
SAVED_AS: Final = "# Save as "
"""How a block begins that is a file of its own, for the commands below it; its name follows, then an empty line."""

# What differs in every run --------------------------------------------------------------------------------------------

_HEX: Final = "[0-9a-f]"
_ID: Final = re.compile(rf"\b{_HEX}{{8}}(?:-{_HEX}{{4}}){{3}}-{_HEX}{{12}}\b|\b{_HEX}{{8}}\b")
_REFERENCE: Final = re.compile(rf"{_ID.pattern}|\b{_HEX}{{4,7}}\b")
_STRING: Final = r'"(?:[^"\\]|\\.)*"'
_UNTOLD: Final = re.compile(rf'"(?:boot|pid_started|pid_namespace)":{_STRING},?')  # not every system tells
_DETAILS: Final = "elapsed|host|inode|locked|parent_pid|pid|platform|process|process_id|program|python|time|traceback"
_SUBSTITUTES: Final = (
    (re.compile(rf'"({_DETAILS})":( ?)(?:{_STRING}|\d[\d.e-]*|true|false)'), r'"\1":\2<detail>'),
    (re.compile(r'"[^"\s]*\.(\d{4})\.jsonl"'), r'"<journal>.\1.jsonl"'),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z| ?[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "<time>"),
    (re.compile(r"(?<=\bin )\d+\.\d\ds\b"), "<duration>"),  # as pytest tells it
    (re.compile(r"\b[\d.]+ (?:µs|ms|s|m \d\d s|h \d\d m|d \d\d h)(?=\W|$)"), "<duration>"),
    (re.compile(rf"\b{_HEX}{{32}}\b"), "<process>"),
    (re.compile(rf"(?<=-){_HEX}{{16}}(?=-)"), "<span>"),  # the parent-id of a traceparent
    (re.compile(r"(run_id_sig=[\w-]+)\.[\w-]{22}"), r"\1.<signature>"),
    (re.compile(r"\S+, pid \d+ on \S+, "), "<process>, "),
    (re.compile(r"\bprocess \d+"), "process <pid>"),
    (re.compile(r"\([\d,]+ bytes\)"), "(<size>)"),
    (re.compile(r"(?<=\S) +"), " "),  # columns are as wide as what is in them
    (re.compile(r" +$", re.MULTILINE), ""),
)


class Names:
    """Which id of the run each id of the page stands for, and the other way round."""

    def __init__(self) -> None:
        self._run: dict[str, str] = {}
        self._page: dict[str, str] = {}

    def in_the_run(self, text: str) -> str:
        """The text of the page with the ids of the run in it, also for the first characters of one."""
        return _REFERENCE.sub(lambda found: self._meant(found[0]), text)

    def difference(self, shown: str, printed: str) -> str | None:
        """What is wrong with the output the page shows; None when that is what was printed."""
        page, run = _UNTOLD.sub("", shown), _UNTOLD.sub("", printed)
        if _normal(page) != _normal(run):
            return f"The page shows:\n{shown}\nThe run printed:\n{printed}"
        for page_id, run_id in zip(_ID.findall(page), _ID.findall(run), strict=True):
            if not (self._agree(page_id[:8], run_id[:8]) and self._agree(page_id, run_id)):
                return f"On the page {page_id} is not the run it was before. The run printed:\n{printed}"
        return None

    def _meant(self, reference: str) -> str:
        if reference in self._run:
            return self._run[reference]
        return next((run for page, run in self._run.items() if page.startswith(reference)), reference)

    def _agree(self, page_id: str, run_id: str) -> bool:
        return self._run.setdefault(page_id, run_id) == run_id and self._page.setdefault(run_id, page_id) == page_id


def _normal(text: str) -> str:
    text = _ID.sub(lambda found: "<id>" if len(found[0]) > 8 else "<short>", text)
    for pattern, substitute in _SUBSTITUTES:
        text = pattern.sub(substitute, text)
    return text.strip("\n")


# One page -------------------------------------------------------------------------------------------------------------


class Page:
    """Runs the blocks of one page, in order."""

    def __init__(self, path: Path, home: Path) -> None:
        self._home = home
        self._names = Names()
        self._output = io.StringIO()
        self._compared = 0
        self._python = PythonEvaluator()
        parsers = {"python": self.python, "console": self.console, "text": self.shown, "json": self.shown}
        self.document = Document.parse(str(path), *(CodeBlockParser(name, run) for name, run in parsers.items()))
        self.document.namespace["__name__"] = "__main__"  # a page is a program

    def run(self) -> None:
        """Run every block; what one prints has to be shown before the next begins."""
        example: Example | None = None
        for example in self.document.examples():
            example.evaluate()
        if example is not None and (left := self._printed()):
            raise SybilFailure(example, f"The page does not show what was printed:\n{left}")

    def python(self, example: Example) -> str | None:
        """Run a block of Python."""
        if left := self._printed():
            return f"The page does not show what was printed before:\n{left}"
        if example.parsed.startswith(NOT_RUN):
            compile(example.parsed, example.path, "exec")
            return None
        if example.parsed.startswith(SAVED_AS):
            name, _, text = example.parsed.removeprefix(SAVED_AS).partition("\n\n")
            Path(name).write_text(text, encoding="utf-8")
            return None
        with contextlib.redirect_stdout(self._output):
            self._python(example)
        return None

    def shown(self, example: Example) -> str | None:
        """Compare what a page shows with what the blocks above it printed."""
        return self._names.difference(example.parsed, self._printed())

    def console(self, example: Example) -> str | None:
        """Run the commands of a block, each with the output below it compared."""
        if example.parsed.startswith(NOT_RUN):
            return None
        for command, shown in _commands(example.parsed):
            difference = self._names.difference(shown, self._shell(command))
            if difference is not None:
                return f"$ {command}\n{difference}"
        return None

    def _shell(self, command: str) -> str:
        done = subprocess.run(  # noqa: S603 - the commands are those of our own pages
            ["/bin/sh", "-c", self._names.in_the_run(command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        return self._as_for_you(done.stdout)

    def _printed(self) -> str:
        """What was printed and not yet compared."""
        text = self._output.getvalue()
        start, self._compared = self._compared, len(text)
        return self._as_for_you(text[start:])

    def _as_for_you(self, text: str) -> str:
        """The text with the paths that a reader of the page would see."""
        return text.replace(f"{self._home}/Library/Application Support/", "/home/you/.local/state/").replace(
            str(self._home), "/home/you"
        )


def _commands(block: str) -> Iterator[tuple[str, str]]:
    """The commands of a block, each with the lines below it."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


@contextlib.contextmanager
def a_machine_of_its_own() -> Generator[Path]:
    """A home directory for a page, with everything recorded in it; the process is afterwards as it was before."""
    root, depth, configured, keys = logging.getLogger(), depth_limit(), configured_directory(), signing_keys()
    handlers, level = root.handlers[:], root.level
    environ = os.environ.copy()
    with tempfile.TemporaryDirectory() as temporary, contextlib.chdir(temporary):
        home = Path(temporary).resolve()
        try:
            # In CI, pytest says more than it does to a reader.
            for name in ("AGENT_RUN_DIR", "AGENT_RUN_ID", "XDG_STATE_HOME", "XDG_CACHE_HOME", "BUILD_NUMBER", "CI"):
                os.environ.pop(name, None)
            scripts = Path(sys.executable).parent
            os.environ.update(HOME=str(home), COLUMNS="100", NO_COLOR="1", PATH=f"{scripts}:{os.environ['PATH']}")
            os.environ["PYTEST_ADDOPTS"] = "-p no:randomly"  # the tests of a page run in its order
            root.handlers[:] = []
            configure(directory=None)
            with recording_in(directory() or ""):
                yield home
        finally:
            os.environ.clear()
            os.environ.update(environ)
            reset_logging()
            for handler in root.handlers:
                handler.close()
            root.handlers[:] = handlers
            root.setLevel(level)
            configure(directory=configured, max_depth=depth, signing_keys=keys)


class PageItem(pytest.Item):
    """The test of one page."""

    def runtest(self) -> None:
        """Run the page on a machine of its own, in a copy of the context."""
        with a_machine_of_its_own() as home:
            contextvars.copy_context().run(Page(self.path, home).run)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What is wrong with the page, without the way through Sybil."""
        if isinstance(excinfo.value, SybilFailure):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the test is."""
        return self.path, 0, self.name


class PageFile(pytest.File):
    """A file with one page in it."""

    def collect(self) -> Iterator[PageItem]:
        """The test of the page."""
        yield PageItem.from_parent(self, name="page")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> PageFile | None:
    """Collect the pages."""
    return PageFile.from_parent(parent, path=file_path) if file_path in PAGES else None
