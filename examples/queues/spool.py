"""Messages in a directory, one file each, with nothing installed. Who holds the lock of a file is at work on it."""

from __future__ import annotations

import fcntl
import time
import uuid
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import agent_run_id as ari
import trips

if TYPE_CHECKING:
    from trips import Handler


def send(queue: str, message: ari.HandOff[Any]) -> None:
    place = last_place(Path(queue))
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.with_suffix(".tmp")
    unfinished.write_bytes(message.to_json())
    unfinished.rename(place)  # nobody sees half of a message


def work(queue: str, handle: Handler, count: int) -> None:
    for _ in range(count):
        path, file = take(Path(queue))
        with file:  # closing it gives up the lock, and so does the kernel when the worker dies
            try:
                with ari.accept(file.read(), name="book") as run:
                    handle(run)
            except Exception:  # what went wrong is in its run; the message goes to the back of the queue
                path.rename(last_place(path.parent))
            else:
                path.unlink()


def take(directory: Path) -> tuple[Path, IO[bytes]]:
    """The first message that nobody is at work on, locked."""
    while True:
        for path in sorted(directory.glob("*.json")):
            if file := locked(path):
                return path, file
        time.sleep(0.1)


def locked(path: Path) -> IO[bytes] | None:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.exists():  # or whoever had the lock was done with it when it was opened here
            return file
    except BlockingIOError:
        pass
    file.close()
    return None


def last_place(directory: Path) -> Path:
    return directory / f"{time.time_ns()}-{uuid.uuid4().hex}.json"


if __name__ == "__main__":
    trips.show(send, work)
