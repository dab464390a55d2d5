"""What the benchmarks share: where figures were taken, and how they are shown."""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version

import agent_run_id as ari


def about(*packages: str) -> dict[str, str]:
    """Where the figures were taken, and with which versions."""
    return {
        "agent_run_id": ari.__version__,
        **{package: version(package) for package in packages},
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.release()} {platform.machine()}",
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def show(rows: Sequence[Mapping[str, object]]) -> None:
    """Print the rows as an aligned table, which is Markdown as well."""
    table = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(len(text) for text in column) for column in zip(*table, strict=True)]
    table.insert(1, ["-" * width for width in widths])
    for row in table:
        print("|", " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)), "|")
    print()
