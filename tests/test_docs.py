"""The pages: they are all there, they name what exists, and running them would notice what is wrong.

That what they show is what happens is proved by running them: see `conftest.py` at the root.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import conftest
import pytest
from sybil.example import SybilFailure

import agent_run_id as ari
from agent_run_id.walls.every import table

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent.parent
DOCS = HERE / "docs"
PAGES = sorted(conftest.PAGES)
PROSE = [*PAGES, HERE / "CHANGELOG.md", HERE / "CONTRIBUTING.md"]

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
prose = pytest.mark.parametrize("page", PROSE, ids=lambda page: page.stem)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def fences(page: Path) -> Iterator[tuple[str, str]]:
    """The language and the text of every fenced block."""
    yield from re.findall(r"^```([^\n]*)\n(.*?)^```$", text_of(page), flags=re.MULTILINE | re.DOTALL)


def without_blocks(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", text_of(page), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors of a page, as the toc extension makes them."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(page), flags=re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


# What is there --------------------------------------------------------------------------------------------------------


def test_every_page_is_in_the_navigation_once() -> None:
    listed = re.findall(r"^ +- [^:]+: (\S+\.md)$", text_of(HERE / "mkdocs.yml"), flags=re.MULTILINE)
    assert sorted(listed) == sorted(page.name for page in DOCS.glob("*.md"))


@prose
def test_every_internal_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(page)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        other = page.parent / name if name else page
        assert other.is_file(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(other), f"{page.name}: {target}"


def test_every_public_name_is_in_the_reference() -> None:
    documented = re.findall(r"^::: agent_run_id\.(\w+)$", text_of(DOCS / "reference.md"), re.MULTILINE)
    assert sorted(documented) == sorted(ari.__all__)


def test_every_public_name_is_on_a_page_a_person_reads() -> None:
    text = "".join(text_of(page) for page in PAGES if page.stem != "reference")
    missing = {name for name in ari.__all__ if not re.search(rf"\b{name}\b", text)}
    assert all(name.endswith("Error") for name in missing), missing  # pages catch the builtins that they specialise


def test_the_table_of_the_walls_is_the_one_the_tests_go_through() -> None:
    comments = r"^<!-- The table .*? -->\n\n(.*?)\n\n<!-- The end of the table. -->$"
    found = re.search(comments, text_of(DOCS / "walls.md"), flags=re.MULTILINE | re.DOTALL)
    assert found is not None, "the table stands between two comments"
    assert found[1] == table(), "run `python -m agent_run_id.walls` and paste what it prints into docs/walls.md"


def test_the_readme_answers_on_its_first_screen_in_eight_lines() -> None:
    first, second = list(fences(HERE / "README.md"))[:2]
    lines = [line for line in first[1].splitlines() if line.strip()]
    assert (first[0], second[0], len(lines)) == ("python", "text", 8)
    assert second[1].count("[") == 3, "the tree"
    text = text_of(HERE / "README.md")
    assert text[: text.index(second[1])].count("\n") < 25, "the first screen"


# What they name -------------------------------------------------------------------------------------------------------


@prose
def test_pages_name_no_api_that_does_not_exist(page: Path) -> None:
    text = text_of(page)
    for name, attribute in re.findall(r"\bari\.([A-Za-z_]+)(?:\.([A-Za-z_]+))?", text):
        assert name in ari.__all__, f"ari.{name}"
        assert not attribute or hasattr(getattr(ari, name), attribute), f"ari.{name}.{attribute}"
    for name, attribute in re.findall(r"`([A-Z]\w+)\.(\w+)", text):
        if name in ari.__all__:
            kind = getattr(ari, name)
            assert hasattr(kind, attribute) or attribute in getattr(kind, "model_fields", ()), f"{name}.{attribute}"
    for module, names in re.findall(r"^from agent_run_id(\.\w+)? import (.+)$", text, flags=re.MULTILINE):
        assert module == ".testing", f"a page imports {names} from a module that is not public"


@prose
def test_files_that_pages_point_to_exist(page: Path) -> None:
    pattern = r"`((?:benchmarks|docs|examples|tests|src)/[\w./]+\.\w+|conftest\.py)`"
    for name in re.findall(pattern, text_of(page)):
        assert (HERE / name).is_file(), name


def promises() -> list[str]:
    """The promises of the page, without what is not promised."""
    text = text_of(DOCS / "guarantees.md").partition("## What is not promised")[0]
    return re.findall(r"^\* .+\n(?:  .+\n)+", text, flags=re.MULTILINE)


def test_every_promise_names_the_tests_that_prove_it() -> None:
    assert len(promises()) == text_of(DOCS / "guarantees.md").partition("## What is not promised")[0].count("\n* ")
    for promise in promises():
        assert re.search(r"`test_\w+\.py::test_\w+`", promise), promise
        assert re.match(r"\* [^`]*(`[^`:]+`[^`]*)*[.] *\n +`test_", promise), promise


def test_every_test_that_a_promise_names_exists() -> None:
    for promise in promises():
        for file, name in re.findall(r"(test_\w+\.py)::(\w+)", promise):
            assert re.search(rf"^def {name}\(", text_of(HERE / "tests" / file), flags=re.MULTILINE), f"{file}::{name}"


@pages
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    for language, text in fences(page):
        if (page.stem, language) in (("command", "usage"), ("terminal", "screen")):
            continue  # made by the command itself, and held to it by `test_cli_docs.py`
        assert language in ("python", "console", "text", "json", "sh"), language
        assert language != "sh" or text.startswith(conftest.NOT_RUN), "shell commands are run in console blocks"
        if text.startswith(conftest.NOT_RUN):
            assert len(text.splitlines()[0]) > len(conftest.NOT_RUN) + 10, "the reason"


# What running them notices --------------------------------------------------------------------------------------------

A_RUN = """
```python
import agent_run_id as ari
with ari.start_run("a") as run, ari.start_run("b"):
    pass
print(ari.RunRegistry().tree(run.id))
```
"""
ITS_TREE = """
```text
✓ a [3f2a8c1d] succeeded in 2 ms
└─ ✓ b [c41d5f60] succeeded in 31 µs
```
"""


def run_page(text: str, directory: Path) -> None:
    page = directory / "page.md"
    page.write_text(text, encoding="utf-8")
    with conftest.a_machine_of_its_own() as home:
        conftest.Page(page, home).run()


def test_ids_and_durations_may_be_anything(tmp_path: Path) -> None:
    run_page(A_RUN + ITS_TREE, tmp_path)


@pytest.mark.parametrize(
    "right_and_wrong",
    [("└─ ✓ b", "└─ ✓ c"), ("succeeded", "failed"), ("└─", "├─"), (" in 2 ms", ""), ("[c41d5f60]", "[3f2a8c1d]")],
)
def test_a_page_that_shows_something_else_fails(tmp_path: Path, right_and_wrong: tuple[str, str]) -> None:
    with pytest.raises(SybilFailure):
        run_page(A_RUN + ITS_TREE.replace(*right_and_wrong), tmp_path)


def test_a_page_that_does_not_show_what_is_printed_fails(tmp_path: Path) -> None:
    with pytest.raises(SybilFailure, match="does not show"):
        run_page(A_RUN, tmp_path)
    with pytest.raises(SybilFailure, match="does not show"):
        run_page(A_RUN + A_RUN + ITS_TREE, tmp_path)


def test_a_page_that_shows_what_is_not_printed_fails(tmp_path: Path) -> None:
    with pytest.raises(SybilFailure):
        run_page(ITS_TREE, tmp_path)


def test_an_id_means_one_run_throughout_a_page(tmp_path: Path) -> None:
    run_page(A_RUN + ITS_TREE + A_RUN + ITS_TREE.replace("3f2a", "5f2a").replace("c41d", "d41d"), tmp_path)
    with pytest.raises(SybilFailure, match="not the run it was before"):
        run_page(A_RUN + ITS_TREE + A_RUN + ITS_TREE, tmp_path)


def test_a_command_names_a_run_by_its_id_on_the_page(tmp_path: Path) -> None:
    shown = "✓ a [3f2a8c1d] succeeded in 3 ms\n└─ ✓ b [c41d5f60] succeeded in 9 µs"
    command = f"\n```console\n$ runid tree 3f2a\n{shown}\n```\n"
    run_page(A_RUN + ITS_TREE + command, tmp_path)
    with pytest.raises(SybilFailure, match=r"\$ runid tree 3f2a"):
        run_page(A_RUN + ITS_TREE + command.replace("✓ b", "✓ c"), tmp_path)


def test_a_block_that_is_to_be_saved_is_a_file_for_the_commands_below_it(tmp_path: Path) -> None:
    saved = '```python\n# Save as hello.py\n\nprint("hello")\n```\n'
    run_page(f"{saved}\n```console\n$ python hello.py\nhello\n```\n", tmp_path)
    with pytest.raises(SybilFailure, match=r"\$ python hello.py"):
        run_page(f"{saved}\n```console\n$ python hello.py\ngood bye\n```\n", tmp_path)


def test_a_page_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    before = (dict(os.environ), Path.cwd(), logging.getLogger().handlers[:], logging.Logger.handle)
    text = "import os, agent_run_id as ari\nari.setup_logging()\nari.configure(max_depth=1)\nos.environ['PAGE'] = '1'\n"
    run_page(f"```python\n{text}```\n", tmp_path)
    assert (dict(os.environ), Path.cwd(), logging.getLogger().handlers[:], logging.Logger.handle) == before
    assert ari.RunId.generate(parent=ari.RunId.generate(parent=ari.RunId.generate())).depth == 2
