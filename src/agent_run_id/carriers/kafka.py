"""Kafka: record headers as a list of pairs, of names as text and values as bytes.

As confluent-kafka, aiokafka and kafka-python have them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_run_id.carriers.fields import fields_for
from agent_run_id.carriers.headers import extract
from agent_run_id.carriers.pairs import write_pairs
from agent_run_id.scope import CURRENT, CurrentRun

if TYPE_CHECKING:
    from agent_run_id.ids import RunId
    from agent_run_id.signing import SigningKeys

__all__ = ["extract", "inject"]


def inject(
    carrier: list[tuple[str, bytes]] | None = None,
    run_id: RunId | CurrentRun | None = CURRENT,
    *,
    keys: SigningKeys | None = None,
) -> list[tuple[str, bytes]]:
    """Write a run into the headers of a record, which are changed and returned; the rest is as for `carriers.headers`.

    Raises:
        TypeError: `carrier` is not a list.
    """
    return write_pairs(carrier, fields_for(run_id, keys=keys), str)
