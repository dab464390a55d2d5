"""httpx and httpx2: every client of a process is instrumented, for a list of hosts. What is patched is put back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest

from agent_run_id import ConfigurationError, start_run
from agent_run_id.integrations.httpx import instrument, instrument_all, uninstrument, uninstrument_all

from .programs import run_program
from .services import OURS, TLS, echoing, names, opened, settled

if TYPE_CHECKING:
    from collections.abc import Generator

    from agent_run_id import RunRegistry

    from .services import Echo

KINDS: list[Any] = [httpx.Client, httpx.AsyncClient, httpx2.Client, httpx2.AsyncClient]
ORIGINAL = {kind: kind.send for kind in KINDS}


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


@pytest.fixture(autouse=True)
def put_back() -> Generator[None]:
    yield
    uninstrument_all()
    assert {kind: kind.send for kind in KINDS} == ORIGINAL


def place(url: str) -> str:
    return url.removeprefix("http://")


@pytest.mark.anyio
async def test_only_the_hosts_that_are_listed_are_told(kind: Any, echo: Echo) -> None:
    instrument_all([place(echo.url)])
    async with opened(kind) as client:
        with start_run("plan") as run:
            await settled(client.get(echo.url))
            await settled(client.get(echo.other))
    assert names(echo) == [OURS, set()]
    echo.received.pop()
    assert [sent.run_id for sent in echo.said()] == [run.id]


@pytest.mark.anyio
async def test_a_redirect_away_from_the_hosts_says_nothing_there(kind: Any, echo: Echo) -> None:
    instrument_all([place(echo.url)])
    async with opened(kind, follow_redirects=True) as client:
        with start_run("plan"):
            await settled(client.get(f"{echo.url}/to/{echo.other}/to/{echo.url}/end"))
            await settled(client.get(f"{echo.other}/to/{echo.url}/end"))
    assert names(echo) == [OURS, set(), OURS, set(), OURS]


@pytest.mark.anyio
async def test_a_redirect_that_the_program_follows_itself_takes_nothing_along(kind: Any, echo: Echo) -> None:
    instrument_all([place(echo.url)])
    async with opened(kind) as client:
        with start_run("plan"):
            response = await settled(client.get(f"{echo.url}/to/{echo.other}/end"))
            await settled(client.send(response.next_request))
    assert names(echo) == [OURS, set()]


@pytest.mark.anyio
async def test_what_the_program_itself_sends_to_others_is_left_alone(kind: Any, echo: Echo) -> None:
    theirs = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "x-run-id": "theirs"}
    instrument_all([place(echo.url)])
    async with opened(kind) as client:
        with start_run("plan"):
            await settled(client.get(echo.other, headers=theirs))
    assert theirs.items() <= dict(echo.received[0][1]).items()


@pytest.mark.anyio
async def test_clients_that_exist_and_clients_of_derived_classes_are_among_them(kind: Any, echo: Echo) -> None:
    class Derived(kind):  # type: ignore[misc]
        def send(self, *args: Any, **kwargs: Any) -> Any:
            return super().send(*args, **kwargs)

    async with opened(kind) as existing, opened(Derived) as derived:
        instrument_all([place(echo.url)])
        with start_run("plan"):
            for client in (existing, derived):
                await settled(client.get(echo.url))
            uninstrument_all()
            uninstrument_all()
            for client in (existing, derived):
                await settled(client.get(echo.url))
    assert names(echo) == [OURS, OURS, set(), set()]


@pytest.mark.anyio
async def test_with_runs_the_requests_to_the_hosts_are_runs(kind: Any, echo: Echo, registry: RunRegistry) -> None:
    instrument_all(["api.internal"])
    instrument_all([place(echo.url)], runs=True)  # doing it again changes how it is done
    async with opened(kind) as client:
        with start_run("plan") as plan:
            await settled(client.get(f"{echo.url}/status/503"))
            await settled(client.get(echo.other))
    assert [(run.kind, run.status) for run in registry.children(plan.id)] == [("http", "failed")]
    echo.received.pop()
    assert [sent.parent_id for sent in echo.said()] == [registry.children(plan.id)[0].id.replace("-", "")[16:]]


@pytest.mark.anyio
async def test_of_a_client_that_is_instrumented_itself_its_own_rules_count(
    kind: Any, echo: Echo, registry: RunRegistry
) -> None:
    async with opened(kind, follow_redirects=True) as before, opened(kind, follow_redirects=True) as after:
        instrument(before, runs=True)
        instrument_all(["127.0.0.1"], runs=True)
        with start_run("warm up"):
            await settled(after.get(echo.url))
        instrument(after, runs=True)
        echo.received.clear()
        for client in (before, after):
            with start_run("plan") as plan:
                await settled(client.get(f"{echo.url}/to/{echo.url}/end"))
            (run,) = registry.children(plan.id)
            first, second = echo.said()
            assert {first.run_id.value, second.run_id.value} == {run.id}
            assert first.parent_id == run.id.replace("-", "")[16:]
            echo.received.clear()
        uninstrument_all()
        with start_run("plan") as plan:
            await settled(after.get(echo.url))  # and they do so when the others are gone
            uninstrument(after)
            await settled(after.get(echo.url))
        assert len(registry.children(plan.id)) == 1
        assert names(echo) == [OURS, set()]


# Which hosts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "url", "told"),
    [
        ("api.internal", "http://api.internal/x", OURS),
        ("api.internal", "https://api.internal:8443/x", OURS),
        ("API.Internal", "http://api.INTERNAL/x", OURS),
        ("api.internal", "http://api.internal.evil.example/", set()),
        ("api.internal", "http://evil-api.internal/", set()),
        ("api.internal", "http://x.api.internal/", set()),
        ("api.internal", "http://api.internal@evil.example/", set()),
        ("*.internal", "http://api.internal/", OURS),
        ("*.internal", "http://a.b.internal:81/", OURS),
        ("*.internal", "http://internal/", set()),
        ("*.internal", "http://evilinternal/", set()),
        ("*.internal", "http://api.internal.example/", set()),
        ("api.internal:8000", "http://api.internal:8000/", OURS),
        ("api.internal:8000", "http://api.internal/", set()),
        ("api.internal:80", "http://api.internal/", OURS),
        ("api.internal:443", "https://api.internal/", OURS),
        ("api.internal:443", "http://api.internal/", set()),
        ("*.internal:8000", "http://api.internal:8000/", OURS),
        ("*.internal:8000", "http://api.internal:8001/", set()),
        ("127.0.0.1", "http://127.0.0.1:5/", OURS),
        ("::1", "http://[::1]:5/", OURS),
        ("[::1]", "http://[::1]:5/", OURS),
        ("[::1]:5", "http://[::1]:5/", OURS),
        ("[::1]:5", "http://[::1]:6/", set()),
    ],
)
@pytest.mark.parametrize("library", [httpx, httpx2])
def test_a_host_is_listed_by_name_by_all_below_it_or_with_a_port(
    library: Any, listed: str, url: str, told: set[str]
) -> None:
    def answer(request: Any) -> Any:
        seen.append(OURS & set(request.headers))
        return library.Response(200)

    seen: list[set[str]] = []
    instrument_all(["elsewhere.example", listed])
    with library.Client(transport=library.MockTransport(answer), verify=TLS) as client, start_run("plan"):
        client.get(url)
    assert seen == [told]


def test_a_mistake_in_the_list_changes_nothing() -> None:
    instrument_all(["api.internal"])
    patched = {kind: kind.send for kind in KINDS}
    for hosts in ("api.internal", ["*"], [""], ["https://api.internal"], ["api.*"], ["*.*.internal"]):
        with pytest.raises(ConfigurationError, match="host"):
            instrument_all(hosts)
    assert {kind: kind.send for kind in KINDS} == patched


def test_a_program_that_has_only_one_of_the_two_libraries_can_do_it_and_without_any_it_says_so() -> None:
    program = """
        import sys
        from importlib.util import find_spec

        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name in sys.argv[1:]:
                    raise ModuleNotFoundError(name)

        from agent_run_id.integrations import httpx as integration
        integration.find_spec = lambda name: None if name in sys.argv[1:] else find_spec(name)
        sys.meta_path.insert(0, Missing())
        try:
            integration.instrument_all(["api.internal"])
        except ImportError as error:
            print(error)
        else:
            print(sorted(kind.__module__ for kind in integration._patched))
    """
    assert run_program(program, "httpx2").strip() == "['httpx', 'httpx']"
    assert run_program(program, "httpx").strip() == "['httpx2', 'httpx2']"
    assert run_program(program, "httpx", "httpx2").strip() == "neither httpx nor httpx2 is installed"
