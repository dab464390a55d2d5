"""httpx and httpx2: what an instrumented client says to whom. Sync and async, over real sockets."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import httpx2
import pytest

from agent_run_id import ConfigurationError, RunContext, RunId, SigningKeys, carriers, current_run_id, start_run
from agent_run_id.integrations.httpx import instrument, uninstrument

from .services import OURS, echoing, names, opened, settled

if TYPE_CHECKING:
    from collections.abc import Generator

    from agent_run_id import RunRegistry

    from .services import Echo

pytestmark = pytest.mark.anyio

KINDS: list[Any] = [httpx.Client, httpx.AsyncClient, httpx2.Client, httpx2.AsyncClient]


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def servers() -> Generator[Echo]:
    with echoing() as echo:
        yield echo


@pytest.fixture
def echo(servers: Echo) -> Echo:
    servers.received.clear()
    return servers


def module_of(kind: Any) -> Any:
    return httpx if kind.__module__ == "httpx" else httpx2


async def test_every_request_names_the_run_it_is_made_in_with_a_parent_id_of_its_own(kind: Any, echo: Echo) -> None:
    async with opened(kind) as client:
        assert instrument(client) is client
        runs = []
        for name in ("plan", "write"):
            with start_run(name) as run:
                runs += [run.id] * 2
                for _ in range(2):
                    await settled(client.get(echo.url))
    said = echo.said()
    assert [sent.run_id.token for sent in said] == [run_id.token for run_id in runs]
    assert [sent.trace_id for sent in said] == [run_id.root_id.replace("-", "") for run_id in runs]
    assert {sent.flags for sent in said} == {"03"}
    assert len({sent.parent_id for sent in said}) == 4


async def test_one_request_sent_twice_has_two_parent_ids(kind: Any, echo: Echo) -> None:
    async with opened(kind) as client:
        instrument(client)
        request = client.build_request("GET", echo.url)
        with start_run("plan"):
            await settled(client.send(request))
            await settled(client.send(request=request))  # by keyword is a way to call it too
    first, second = echo.said()
    assert first.run_id == second.run_id
    assert first.parent_id != second.parent_id


async def test_outside_any_run_nothing_is_sent_and_the_trace_of_the_program_is_left_alone(
    kind: Any, echo: Echo
) -> None:
    theirs = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "foo=1"}
    async with opened(kind) as client:
        instrument(client, runs=False)
        await settled(client.get(echo.url))
        await settled(client.get(echo.url, headers=theirs))
    assert names(echo) == [set(), {"traceparent", "tracestate"}]
    assert theirs.items() <= dict(echo.received[1][1]).items()


async def test_headers_and_cookies_of_the_client_stay_as_they_are(kind: Any, echo: Echo) -> None:
    async with opened(kind, headers={"X-Of-Client": "1"}, cookies={"a": "1"}) as client:
        instrument(client)
        before = dict(client.headers)
        with start_run("plan"):
            await settled(client.get(echo.url, headers={"X-Of-Request": "2", "X-Run-Id": "stale"}))
        assert dict(client.headers) == before
    (_, headers), (sent,) = echo.received[0], echo.said()
    assert {("x-of-client", "1"), ("x-of-request", "2"), ("cookie", "a=1")} <= {(n.lower(), v) for n, v in headers}
    assert sent.run_id.is_root


async def test_hooks_of_the_user_are_called_as_before_also_when_they_are_set_later(kind: Any, echo: Echo) -> None:
    called: list[str] = []

    def hook(name: str) -> Any:
        async def asynchronous(_: Any) -> None:
            called.append(name)

        def sync(_: Any) -> None:
            called.append(name)

        return asynchronous if "Async" in kind.__name__ else sync

    async with opened(kind, event_hooks={"request": [hook("a"), hook("b")], "response": [hook("c")]}) as client:
        before = {name: list(hooks) for name, hooks in client.event_hooks.items()}
        instrument(client)
        with start_run("plan"):
            await settled(client.get(echo.url))
            client.event_hooks = {"request": [hook("d")]}
            await settled(client.get(echo.url))
            client.event_hooks = before
            await settled(client.get(echo.url))
        uninstrument(client)
        assert client.event_hooks == before
    assert called == ["a", "b", "c", "d", "a", "b", "c"]
    assert len(echo.said()) == 3


async def test_authentication_that_asks_twice_says_so_in_both_requests(kind: Any, echo: Echo) -> None:
    class Auth(module_of(kind).Auth):  # type: ignore[misc]
        def auth_flow(self, request: Any) -> Generator[Any, Any, None]:
            response = yield request
            if response.status_code == 401:
                request.headers["authorization"] = "Bearer of the news"
                yield request

    async with opened(kind, auth=Auth()) as client:
        instrument(client)
        with start_run("plan") as run:
            response = await settled(client.get(f"{echo.url}/locked"))
        assert response.status_code == 200
    first, second = echo.said()
    assert first.run_id == second.run_id == run.id
    assert first.parent_id != second.parent_id


# Redirects ------------------------------------------------------------------------------------------------------------


async def test_a_redirect_to_the_same_host_says_it_anew(kind: Any, echo: Echo) -> None:
    async with opened(kind, follow_redirects=True) as client:
        instrument(client)
        with start_run("plan") as run:
            await settled(client.get(f"{echo.url}/to//to//end"))
    assert [path for path, _ in echo.received] == ["/to//to//end", "/to//end", "/end"]
    assert {sent.run_id for sent in echo.said()} == {run.id}
    assert len({sent.parent_id for sent in echo.said()}) == 3


async def test_a_redirect_to_another_host_says_nothing_there(kind: Any, echo: Echo) -> None:
    async with opened(kind, follow_redirects=True) as client:
        instrument(client)
        with start_run("plan"):
            await settled(client.get(f"{echo.url}/to/{echo.other}/to/{echo.url}/end"))
    assert names(echo) == [OURS, set(), OURS]


async def test_the_trace_of_somebody_else_stays_with_the_host_that_was_asked(kind: Any, echo: Echo) -> None:
    came_in = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "foo=1"}
    async with opened(kind, follow_redirects=True) as client:
        instrument(client)
        with RunContext(carriers.headers.extract(came_in)):  # a trace without a run
            await settled(client.get(f"{echo.url}/to/{echo.other}/end"))
            request = client.build_request("GET", echo.url)
            await settled(client.send(request))
        await settled(client.send(request))
    assert names(echo) == [{"traceparent", "tracestate"}, set(), {"traceparent", "tracestate"}, set()]


async def test_a_redirect_that_the_program_follows_itself_takes_nothing_along(kind: Any, echo: Echo) -> None:
    async with opened(kind) as client:
        instrument(client, hosts=[echo.url.removeprefix("http://")])
        with start_run("plan"):
            response = await settled(client.get(f"{echo.url}/to/{echo.other}/end"))
            await settled(client.send(response.next_request))
    assert names(echo) == [OURS, set()]


# Runs -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, "succeeded"), (304, "succeeded"), (400, "failed"), (503, "failed")]
)
async def test_with_runs_each_request_is_a_run_that_the_parent_id_stands_for(
    kind: Any, echo: Echo, registry: RunRegistry, status: int, outcome: str
) -> None:
    async with opened(kind) as client:
        instrument(client, runs=True)
        with start_run("plan") as plan:
            response = await settled(client.get(f"{echo.url}/status/{status}?q=secret"))
            assert current_run_id() is plan.id
        assert response.status_code == status
    (sent,), (run,) = echo.said(), registry.children(plan.id)
    assert sent.run_id.value == run.id
    assert sent.run_id.parent_id == plan.id.value
    assert sent.parent_id == run.id.replace("-", "")[16:]
    assert (run.name, run.kind, run.status) == (f"GET 127.0.0.1/status/{status}", "http", outcome)
    assert run.attributes == {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "url.path": f"/status/{status}",
        "http.response.status_code": status,
    }
    assert (run.error is not None and run.error.message) == (outcome == "failed" and f"answered {status}")


async def test_with_runs_a_request_outside_any_run_is_a_root(kind: Any, echo: Echo, registry: RunRegistry) -> None:
    async with opened(kind) as client:
        instrument(client, runs=True)
        await settled(client.get(echo.url))
    (sent,), (run,) = echo.said(), registry.find()
    assert sent.run_id.is_root
    assert sent.run_id.value == run.id


async def test_the_requests_that_redirects_lead_to_are_one_run(kind: Any, echo: Echo, registry: RunRegistry) -> None:
    async with opened(kind, follow_redirects=True) as client:
        instrument(client, runs=True)
        await settled(client.get(f"{echo.url}/to//status/404"))
    first, second = echo.said()
    (run,) = registry.find()
    assert {first.run_id.value, second.run_id.value} == {run.id}
    assert first.parent_id == run.id.replace("-", "")[16:] != second.parent_id
    assert (run.status, run.attributes["http.response.status_code"]) == ("failed", 404)


async def test_an_exception_fails_the_run_of_the_request(kind: Any, registry: RunRegistry) -> None:
    async with opened(kind) as client:
        instrument(client, runs=True)
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))  # and does not listen
            with pytest.raises(module_of(kind).ConnectError) as raised:
                await settled(client.get(f"http://127.0.0.1:{nobody.getsockname()[1]}"))
    (run,) = registry.find()
    assert run.status == "failed"
    assert raised.value.__notes__ == [f"agent run {run.id} (GET 127.0.0.1/)"]


@pytest.mark.parametrize("kind", [httpx.AsyncClient, httpx2.AsyncClient], indirect=True)
async def test_a_cancelled_request_is_a_cancelled_run(kind: Any, registry: RunRegistry) -> None:
    async def never(scope: Any, receive: Any, send: Any) -> None:
        group.cancel_scope.cancel()
        await anyio.sleep_forever()

    async with (
        opened(kind, transport=module_of(kind).ASGITransport(never)) as client,
        anyio.create_task_group() as group,
    ):
        instrument(client, runs=True)
        group.start_soon(client.get, "http://service")
    assert registry.get("@last").status == "cancelled"


async def test_a_streamed_answer_ends_its_run_when_it_begins(kind: Any, echo: Echo, registry: RunRegistry) -> None:
    async with opened(kind) as client:
        instrument(client, runs=True)
        response = await settled(client.send(client.build_request("GET", echo.url), stream=True))
        assert registry.get("@last").status == "succeeded"
        await settled(response.aclose() if "Async" in kind.__name__ else response.close())


# Doing and undoing it -------------------------------------------------------------------------------------------------


async def test_it_is_done_once_and_undone_whole(kind: Any, echo: Echo, registry: RunRegistry) -> None:
    async with opened(kind) as client:
        for _ in range(3):
            instrument(client, runs=True)
        with start_run("plan") as plan:
            await settled(client.get(echo.url))
            assert len(client.event_hooks["request"]) == 1
            uninstrument(client)
            uninstrument(client)
            await settled(client.get(echo.url))
            assert "send" not in vars(client)
            assert client.event_hooks == {"request": [], "response": []}
    assert names(echo) == [OURS, set()]
    assert len(registry.children(plan.id)) == 1


async def test_doing_it_again_changes_how_it_is_done(kind: Any, echo: Echo, registry: RunRegistry) -> None:
    async with opened(kind) as client:
        instrument(client, runs=True)
        with start_run("plan") as plan:
            await settled(client.get(echo.url))
            instrument(client, hosts=["api.internal"])
            await settled(client.get(echo.url))
    assert names(echo) == [OURS, set()]
    assert len(registry.children(plan.id)) == 1


async def test_keys_sign_what_is_sent(kind: Any, echo: Echo) -> None:
    keys = SigningKeys({"k": "s" * 32})
    async with opened(kind) as client:
        instrument(client, keys=keys)
        with start_run("plan") as run:
            await settled(client.get(echo.url))
    inbound = carriers.headers.extract(echo.received[0][1], keys=keys)
    assert (inbound.run_id, inbound.refused) == (run.id, None)


def test_only_a_client_can_be_instrumented_and_hosts_are_a_list() -> None:
    with pytest.raises(TypeError, match="not a dict"):
        instrument({})
    with httpx.Client(trust_env=False) as client:
        for hosts in ("api.internal", [""], ["http://api.internal"], ["*"], ["a.*.internal"]):
            with pytest.raises(ConfigurationError, match="host"):
                instrument(client, hosts=hosts)
        assert "send" not in vars(client)


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_one_client_in_many_threads_names_the_run_of_each(library: Any, echo: Echo) -> None:
    together = threading.Barrier(8)
    expected: list[RunId] = []

    def work(client: Any) -> None:
        together.wait(30)
        for _ in range(5):
            with start_run("work") as run:
                expected.append(run.id)
                client.get(f"{echo.url}/{run.id}")

    with library.Client(trust_env=False) as client:
        threads = [threading.Thread(target=work, args=(instrument(client),)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(client.event_hooks["request"]) == 1
    assert {path[1:] for path, _ in echo.received} == {run_id.value for run_id in expected}
    assert [sent.run_id.value for sent in echo.said()] == [path[1:] for path, _ in echo.received]


async def test_many_tasks_of_one_client_do_not_mix(echo: Echo) -> None:
    async def work(client: httpx.AsyncClient) -> None:
        with start_run("work") as run:
            await client.get(f"{echo.url}/{run.id}")

    async with opened(httpx.AsyncClient) as client, anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(work, instrument(client))
    assert [sent.run_id.value for sent in echo.said()] == [path[1:] for path, _ in echo.received]
    assert len(echo.received) == 50
