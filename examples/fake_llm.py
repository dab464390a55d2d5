"""A language model that needs no network: a small HTTP server, in a process of its own, that answers like a real one.

It records runs too. All it knows of the caller's run is the bare id in a header, and that is enough.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import agent_run_id as ari
import notebook

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = "pocket-1"
ANSWERS = {
    "hotel": '{"choice": "Casa do Tejo", "why": "quiet, and ten minutes on foot from the old town"}',
    "day 1": "Alfama on foot, the castle at noon, fado in the evening.",
    "day 2": "Tram 15 to Belém, the tower, then custard tarts.",
}


def complete(messages: list[dict[str, str]]) -> dict[str, Any]:
    """A chat completion, in the shape in which the well-known APIs give it."""
    prompt = messages[-1]["content"]
    text = next((answer for word, answer in ANSWERS.items() if word in prompt), "A walk by the river.")
    used = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split())}
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {**used, "total_tokens": sum(used.values())},
    }


class Completions(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        caller = self.headers["X-Run-Id"]
        # The run is under the caller's, in another process, from nothing but the id in the header.
        parent = ari.RunId(caller) if caller else ari.ROOT
        with (
            ari.start_run("completion", kind="llm", parent=parent, input=body["messages"]) as run,
            notebook.entry("completion", body["metadata"]["caller"]),
        ):
            answer = complete(body["messages"])
            run.update(output=answer["choices"])
        payload = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the method it replaces
        pass


def serve() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Completions) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()  # looks so often whether it is to stop
        print(server.server_port, flush=True)
        sys.stdin.read()  # until whoever started the server lets go of the pipe, or is gone
        server.shutdown()


@contextlib.contextmanager
def running() -> Iterator[int]:
    """Run the server in another process, and give its port."""
    # It tells the server where this process records. The run that is current now goes along too, but answers nothing:
    # every completion is under the run that the request names.
    with subprocess.Popen(
        [sys.executable, __file__], env=ari.child_env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin  # noqa: S101 - PIPE gives it
        assert server.stdout  # noqa: S101 - likewise
        with server.stdin:
            yield int(server.stdout.readline())


if __name__ == "__main__":
    serve()
