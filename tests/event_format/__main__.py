"""Write what is made of the models of the format: `make event-format`."""

from __future__ import annotations

from tests.event_format import made

for path, text in made().items():
    path.write_text(text, encoding="utf-8")
    print(path)  # noqa: T201 - for whoever called it
