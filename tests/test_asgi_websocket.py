"""Websockets over a real connection: one run from the handshake to the close."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, Request, TextMessage

from agent_run_id import RunId, carriers, current_run
from agent_run_id.integrations.asgi import RunMiddleware
from tests.services import serving

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

    from agent_run_id import RunRegistry

CALLER = RunId.generate(RunId.generate())


async def tell(websocket: WebSocket) -> None:
    """Answer every text with the run it is handled in."""
    await websocket.accept()
    async for _ in websocket.iter_text():
        await websocket.send_text(current_run().id.token)


def exchange(connection: socket.socket, client: WSConnection, event: Event) -> Event:
    """Send one event and wait for the next that comes back."""
    connection.sendall(client.send(event))
    while True:
        for answer in client.events():
            return answer
        client.receive_data(connection.recv(65_536) or None)


def test_a_websocket_over_a_real_connection_is_one_run_of_its_caller(registry: RunRegistry) -> None:
    app = RunMiddleware(Starlette(routes=[WebSocketRoute("/talk", tell)]), inbound="trust")
    with serving(app, ws="wsproto") as served:
        address = urlsplit(served.url)
        headers = [(name.encode(), value.encode()) for name, value in carriers.headers.inject({}, CALLER).items()]
        with socket.create_connection((address.hostname, address.port)) as connection:
            client = WSConnection(ConnectionType.CLIENT)
            opening = Request(host=address.netloc, target="/talk", extra_headers=headers)
            accepted = exchange(connection, client, opening)
            assert isinstance(accepted, AcceptConnection)
            said = [exchange(connection, client, TextMessage(data=word)) for word in ("one", "two")]
            exchange(connection, client, CloseConnection(code=1000))
    [run] = registry.find(kind="request")
    assert (run.name, run.status, run.parent_id, run.depth) == ("WEBSOCKET /talk", "succeeded", CALLER.value, 2)
    assert [event.data for event in said if isinstance(event, TextMessage)] == [run.run_id.token] * 2
    assert dict(accepted.extra_headers)[b"x-run-id"] == run.id.encode()
