"""Servers that tests need: whether one answers, and what becomes of a test when none does.

A test says which ones with ``@pytest.mark.service("redis")``. A newcomer has none and sees why the test is skipped; in
CI, where they are promised, the test fails: what is skipped for long proves nothing.
"""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

import pytest

__all__ = ["require", "url_of"]

_SERVERS = {
    "nats": ("NATS_URL", "nats://localhost:4222"),
    "rabbitmq": ("RABBITMQ_URL", "amqp://guest:guest@localhost:5672/%2F"),
    "redis": ("REDIS_URL", "redis://localhost:6379"),
}


def url_of(server: str) -> str:
    """Where a server is: what the environment says, or its usual port on this machine."""
    variable, default = _SERVERS[server]
    return os.environ.get(variable, default)


def require(server: str) -> None:
    """Skip the test where a server does not answer; in CI let it fail."""
    variable, default = _SERVERS[server]
    parts, usual = urlsplit(url_of(server)), urlsplit(default)
    host, port = parts.hostname or "localhost", parts.port or usual.port
    try:
        socket.create_connection((host, port or 0), timeout=10).close()
    except OSError as error:
        reason = f"needs {server}, and nothing answers at {host}:{port} ({error}): start one, or set {variable}"
        if os.environ.get("CI"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
