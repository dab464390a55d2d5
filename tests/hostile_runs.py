"""Runs of which everything is one hostile text, and texts that hurt whoever shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from agent_run_id import RunId, start_run
from tests.journal_programs.journals import T0, crafted, event, started

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CHILD", "MARKUP", "ROOT", "everything_is", "record_everywhere"]

ROOT: Final = RunId("11111111-1111-4111-8111-111111111111")
CHILD: Final = RunId.from_token(f"22222222-2222-4222-8222-222222222222.{ROOT}.{ROOT}.1")

MARKUP: Final = [
    "<script>alert(1)</script>", "<ScRiPt src=//evil.example>", "<img src=x onerror=alert(1)>", "<svg/onload=alert(1)>",
    "</pre><b>out</b>", "</details></li></ol>", "</title><script>", "</style><script>", "<style>*{color:red}</style>",
    "<!--", "-->", "<!-- --><b>", "<![CDATA[", "]]>", "<?xml?>", "<!DOCTYPE x>", "<", ">", "&", '"', "'", "`", "</",
    "<a", '"><b>', "'><b>", '" onmouseover="alert(1)', "' onfocus='alert(1)", "x onclick=alert(1)",
    "javascript:alert(1)", "JaVaScRiPt&colon;alert(1)", "data:text/html,<b>", "https://evil.example/", "//evil.example",
    "#r-11111111", "&#x3c;script&#x3e;", "&lt;b&gt;", "&amp;lt;", "&#0;", "&#x", "&", "&notit;", "\\x3cb\\x3e",
    "<base href=//evil.example>", "<meta http-equiv=refresh content=0>", "<iframe>", "<textarea>", "<plaintext>",
    "<noscript>", "<template>", "<table><tr>", "<math><mi>", "<p hidden>", "<b\0>", "<\0script>", "\0", "a\0b",
    "\u202eevil\u202c", "\u2066\u2069", "\u200b", "\u2028<b>", "\ufeff", "\x1b[31mred\x1b[0m", "\x9b31m", "\x07", "\b",
    "\r\n<b>", "\n\n<b>", "\ttab", "=1+1", "+1", "-1", "@SUM(1)", "=cmd|' /C calc'!A0", "\t=1", "\r=1", "\n=1", " =1",
    "\u3000=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff201", 'a;=1', 'a;"=1', "a,=1", "a\n=1", '"=1', "'=1",
    "\uff1cscript\uff1e", "\U0010ffff", "\ufffe", "é" * 50, "z\u0300\u0301\u0302" * 20, "A" * 500,
]  # fmt: skip
"""What a page, a spreadsheet or a terminal could take for something else than text."""


def record_everywhere(text: str) -> None:
    """Record two runs with `text` wherever a program can say a text."""
    with start_run(
        text,
        kind=text,
        input=text,
        key=text,
        user_id=text,
        session_id=text,
        summary=text,
        tags=[text],
        attributes={text: text},
        links=[text],
    ) as root:
        root.step(text, data={text: [text]})
        root.decide(text, options=[text, {text: text}], chosen=text, why=text).outcome(text)
        root.usage(model=text, input_tokens=1, cost=0.5, currency=text, call_id=text)
        child = start_run(text)
        child.end(error=RuntimeError(text), output={text: text})
        root.end(error=text, output=text)


def everything_is(text: str, directory: Path) -> None:
    """Make the journal of a run and its child with `text` wherever a journal can say one, and with the same ids."""
    fields: dict[str, Any] = dict.fromkeys(
        ("name", "kind", "key", "user_id", "session_id", "summary", "refused_parent", "retry_of", "duplicate_of"), text
    )
    fields |= {"tags": [text], "aliases": [text], "links": [text], "input": text, "attributes": {text: {text: text}}}
    chosen = {"question": text, "options": [text, {text: text}], "chosen": text, "why": text, "decision": text}
    counts = {"input_tokens": 5, "output_tokens": 2, "cost": 0.5, "currency": text, "model": text, "call_id": text}
    error = {"type": text, "message": text, "traceback": text}
    lines: list[dict[str, Any]] = []
    for run, time in ((ROOT, T0), (CHILD, T0 + 1_000_000)):
        lines += [
            started(run, **fields, time=time),
            event(0, "run.step", run, name=text, data={text: [text]}, time=time),
            event(0, f"later.{text}", run, field=text, time=time),
            event(0, "run.decision", run, **chosen, time=time),
            event(0, "run.decision.outcome", run, decision=text, outcome=text, time=time),
            event(0, "run.usage", run, **counts, time=time),
            event(0, "run.paused", run, reason=text, hand=1, time=time),
        ]
    lines += [
        event(0, "run.ended", run, status="failed", error=error, output=text, elapsed=10, time=T0 + 2_000_000)
        for run in (CHILD, ROOT)
    ]
    crafted(directory, lines, program=text, host=text)
