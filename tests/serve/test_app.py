import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn

from privllm.core.errors import UserError
from privllm.engine.fingerprint import closure
from privllm.serve.app import allowed_hosts, arena_app, chat_app, listen
from privllm.serve.auth import new_token
from privllm.serve.callers import LOCAL_HOSTS, Callers
from privllm.serve.database import Database, DatabaseUnwritable
from tests.serve.fakes import Parrot
from tests.serve.live import answered, live
from tests.workshop import ROOT


@pytest.mark.parametrize("stage", sorted(path.stem for path in (ROOT / "stages").glob("[!_]*.py")))
def test_no_stage_depends_on_the_web(stage: str) -> None:
    """Or a new FastAPI would make everybody train again."""
    ours, foreign = closure(ROOT, f"stages.{stage}")
    assert {name for name in ours if name.startswith("privllm.serve.")} == set()
    assert not foreign & {"fastapi", "starlette", "uvicorn", "httpx", "pydantic"}
    if stage not in ("feedback", "align", "gate", "export", "report"):  # the last two list every stage's parameters
        assert not any(name.startswith("privllm.feedback") for name in ours)


def test_other_machines_need_tokens(tmp_path: Path) -> None:
    database = Database(tmp_path / "p.sqlite")
    for host in ("127.0.0.1", "127.8.8.8", "localhost", "::1"):
        assert allowed_hosts(host, database) == LOCAL_HOSTS | {host}
    for host in ("0.0.0.0", "::", "192.168.1.7", "example.org", ""):
        with pytest.raises(UserError, match="privllm token new"):
            allowed_hosts(host, database)
    new_token(database, "eva")
    assert allowed_hosts("0.0.0.0", database) is None


def test_a_server_for_others_may_be_called_by_any_name_with_a_token(tmp_path: Path) -> None:
    database = Database(tmp_path / "p.sqlite")
    token = new_token(database, "eva")
    with live(chat_app(Parrot("m", "", "hi"), database, Callers(None))) as url:
        named = {"host": "llm.example.org"}
        assert httpx.get(f"{url}/v1/models", headers=named).status_code == 401
        assert httpx.get(f"{url}/v1/models", headers=named | {"authorization": f"Bearer {token}"}).status_code == 200


def test_no_telemetry_even_where_the_environment_asks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    with live(_collector(sent)) as collector:
        monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
        with live(chat_app(Parrot("m", "", "hi"), Database(tmp_path / "p.sqlite"))) as url:
            assert httpx.get(f"{url}/v1/models").status_code == 200
    assert sent == []


def _collector(sent: list[str]):
    from fastapi import FastAPI
    from fastapi import Request as Call

    app = FastAPI(telemetry={"auto_configure": False})

    @app.middleware("http")
    async def note(call: Call, go_on):
        sent.append(call.url.path)
        return await go_on(call)

    return app


def test_a_full_disk_is_told_to_who_rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Database, rating: object) -> int:
        raise DatabaseUnwritable

    monkeypatch.setattr(Database, "rate", full)
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    decoding = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 9, "seed": 1}
    with live(chat_app(Parrot("m", "", "hi"), Database(tmp_path / "p.sqlite"))) as url:
        said = answered(url, body) | {"digest": "digest-of-m", "messages": body["messages"], "decoding": decoding}
        refused = httpx.post(f"{url}/api/rating", json=said | {"thumb": "up"})
    assert refused.status_code == 507
    assert "the disk of the database is full" in refused.json()["error"]["message"]


def test_a_key_that_is_none_is_told_before_anybody_is_served(tmp_path: Path) -> None:
    (tmp_path / "signing.key").write_bytes(b"short")
    with pytest.raises(UserError, match="is no key of ratings"):
        chat_app(Parrot("m", "", "hi"), Database(tmp_path / "p.sqlite"))


def test_engines_are_closed_with_the_server(tmp_path: Path) -> None:
    parrot = Parrot("m", "", "hi")
    with live(chat_app(parrot, Database(tmp_path / "p.sqlite"))):
        assert not parrot.closed
    assert parrot.closed


def test_a_port_that_is_taken_is_explained(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError, match="choose another with --port"):
        listen(
            chat_app(Parrot("m", "", "hi"), Database(tmp_path / "p.sqlite")), "127.0.0.1", taken.getsockname()[1], print
        )
    with pytest.raises(UserError, match=r"cannot listen on 203\.0\.113\.1, port 0"):
        listen(chat_app(Parrot("m", "", "hi"), Database(tmp_path / "p.sqlite")), "203.0.113.1", 0, print)


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_the_address_is_told_and_who_asks_what_is_not_logged(
    host: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    bound: list[tuple] = []

    def say(url: str) -> None:
        parts = urlsplit(url)
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10).close()
        said.append(url)

    def run(self: uvicorn.Server, sockets: list[socket.socket]) -> None:
        bound.append((*sockets[0].getsockname()[:2], self.config))
        sockets[0].close()

    monkeypatch.setattr(uvicorn.Server, "run", run)
    try:
        listen(chat_app(Parrot("m", "", "hi"), Database(tmp_path / "p.sqlite")), host, 0, say)
    except UserError:
        assert host == "::1", "this machine has no IPv6"
        return
    [(address, port, config)] = bound
    assert (address, said) == (host, [f"http://{shown}:{port}/"])
    assert (config.access_log, config.server_header, config.log_level) == (False, False, "warning")
    assert (config.timeout_graceful_shutdown, config.ws) == (5, "none")
    assert config.timeout_keep_alive == 75  # no client's own limit, such as httpx's 5 s


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/v1/models/", "/static/"])
def test_there_are_no_pages_that_load_scripts_and_no_redirects(path: str, tmp_path: Path) -> None:
    with live(chat_app(Parrot("m", "", "hi"), Database(tmp_path / "p.sqlite"))) as url:
        answer = httpx.get(url + path)
        assert (answer.status_code, "location" in answer.headers) == (404, False)
        assert answer.json()["error"]["type"] == "not_found_error"


def test_the_arena_has_no_api_that_would_name_its_models(tmp_path: Path) -> None:
    parrots = [Parrot("old", "", "x"), Parrot("new", "", "y")]
    with live(arena_app(parrots, Database(tmp_path / "p.sqlite"))) as url:
        for path in ("/v1/models", "/v1/models/old", "/v1/completions"):
            assert httpx.get(url + path).status_code == 404
        assert httpx.get(url, headers={"host": "evil.example"}).status_code == 421
    assert all(parrot.closed for parrot in parrots)
