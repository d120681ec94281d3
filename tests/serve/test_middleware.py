"""Refused with the right status: no token, a wrong one, too much, what is no JSON, what comes from elsewhere, odd paths."""

import json
import re
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from privllm.serve import middleware
from privllm.serve.app import chat_app
from privllm.serve.auth import new_token
from privllm.serve.database import Database
from privllm.serve.engine.base import RequestRefused
from privllm.serve.engine.local import LocalEngine
from privllm.serve.middleware import BODY_LIMIT
from tests.serve.fakes import Failing, Parrot
from tests.serve.live import answered, live

ASKED = {"model": "handbook-1", "prompt": "the", "max_tokens": 2}
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def url(exported: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with live(
        chat_app(LocalEngine.open(exported()), Database(tmp_path_factory.mktemp("gate") / "people.sqlite"))
    ) as url:
        yield url


@pytest.fixture(scope="module")
def guarded(exported: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(address, token) of a server that wants tokens."""
    database = Database(tmp_path_factory.mktemp("guarded") / "people.sqlite")
    token = new_token(database, "eva")
    with live(chat_app(LocalEngine.open(exported()), database)) as url:
        yield url, token


def raw(url: str, request: bytes) -> bytes:
    """What comes back for these bytes, without a client that would tidy them."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as sock:
        sock.sendall(request)
        return b"".join(iter(lambda: sock.recv(65536), b""))


BODIES = {
    "no JSON": (b"{", 400),
    "empty": (b"", 400),
    "a list": (b"[]", 400),
    "half a character": (b'{"model": "\xff"}', 400),
    "half a surrogate": (b'{"model": "handbook-1", "prompt": "\\ud800"}', 400),
    "not a number": (b'{"model": "handbook-1", "prompt": "x", "temperature": NaN}', 400),
    "deep": (b"[" * 100_000, 400),
    "a prompt that is none": (b'{"model": "handbook-1", "prompt": {"a": 1}}', 400),
    "prompts of two kinds": (b'{"model": "handbook-1", "prompt": ["a", 5]}', 400),
    "barely warm": (b'{"model": "handbook-1", "prompt": "x", "temperature": 1e-300}', 400),
    "no model": (b'{"prompt": "x"}', 400),
    "10 MB": (b'{"model": "handbook-1", "prompt": "' + b"x" * 10_000_000 + b'"}', 413),
    "an endless word": (b'{"model": "handbook-1", "prompt": "' + b"x" * 900_000 + b'"}', 400),
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies(name: str, url: str) -> None:
    body, status = BODIES[name]
    answer = httpx.post(f"{url}/v1/completions", content=body, headers=JSON, timeout=20)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_a_body_of_unknown_length_is_counted_as_it_comes(url: str) -> None:
    answer = httpx.post(f"{url}/v1/completions", content=(b"x" * 100_000 for _ in range(100)), headers=JSON, timeout=20)
    assert answer.status_code == 413


def test_a_body_that_never_ends_is_cut_off(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "DRAIN_LIMIT", 3_000_000)
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 200_000_000:
            sent += 100_000
            yield b"x" * 100_000

    with suppress(httpx.HTTPError):  # hung up on: it may not come to read the answer
        assert httpx.post(f"{url}/v1/completions", content=endless(), headers=JSON, timeout=20).status_code == 413
    assert sent < 100_000_000


def test_a_body_that_does_not_come(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "BODY_SECONDS", 0.2)
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=10) as sock:
        host = f"{parts.hostname}:{parts.port}".encode()
        sock.sendall(
            b"POST /v1/completions HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
            % host
        )
        assert b" 408 " in sock.recv(65536)


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer privllm-guess", "Basic {}", "Bearer {}x", "Bearer {} {}"]
)
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/x", "/api/page"])
def test_no_token_and_wrong_ones(header: str | None, path: str, guarded: tuple[str, str]) -> None:
    url, token = guarded
    headers = {} if header is None else {"authorization": header.format(token, token)}
    answer = httpx.get(url + path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/api/rating"])
def test_no_body_is_read_without_a_token(path: str, guarded: tuple[str, str]) -> None:
    url, token = guarded
    assert httpx.post(url + path, json={}).status_code == 401
    assert httpx.post(url + path, json={}, headers={"authorization": f"Bearer {token}"}).status_code == 400


def test_the_page_itself_is_open_and_the_right_token_opens_the_rest(guarded: tuple[str, str]) -> None:
    url, token = guarded
    assert httpx.get(url).status_code == 200
    assert httpx.get(f"{url}/api/page", headers={"authorization": f"Bearer {token}"}).json()["rater"] == "eva"


PATHS = """
/static/../people.sqlite /static/..%2f..%2fpeople.sqlite /static/%2e%2e/%2e%2e/server.py /static//etc/passwd /static/chat.js%00.css
//v1/models /v1/../v1/models /V1/models /v1/models/../../api/page /%76%31/../api /static/ /static /docs /redoc /openapi.json /.git/config
/static/chat.html /v1 /api/ /v1/completions/ /..;/v1/models
""".split()


@pytest.mark.parametrize("path", PATHS)
def test_odd_paths_lead_nowhere(path: str, guarded: tuple[str, str]) -> None:
    url = guarded[0]
    host = urlsplit(url).netloc.encode()
    answer = raw(url, b"GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % (path.encode(), host))
    assert answer.split()[1] in (b"404", b"400", b"401"), answer[
        :200
    ]  # 401: an odd name of a model, asked for without a token
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] if answer.split()[1] != b"400" else True


def test_methods(url: str) -> None:
    assert httpx.delete(f"{url}/v1/models", headers=JSON).status_code == 405
    assert httpx.get(f"{url}/v1/completions").status_code == 405
    for method, path, allowed in (
        ("PUT", "/v1/completions", "POST"),
        ("TRACE", "/v1/models", "GET"),
        ("POST", "/health", "GET"),
        ("POST", "/api/rating/x", "DELETE"),
    ):
        answer = httpx.request(method, url + path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "127.0.0.1@evil.example", "[", "localhost."],
)
def test_a_name_that_points_here_is_not_ours(host: str, url: str) -> None:
    """DNS rebinding: the browser believes that evil.example is this server."""
    answer = raw(url, b"GET /v1/models HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % host.encode())
    assert answer.split()[1] == b"421"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"origin": "http://["}, 403),
        ({"origin": ""}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "application/json; charset=utf-8", "sec-fetch-site": "same-origin"}, 200),
    ],
)
def test_other_web_sites_may_not_call(headers: dict[str, str], status: int, url: str) -> None:
    answer = httpx.post(f"{url}/v1/completions", content=json.dumps(ASKED), headers=JSON | headers)
    assert answer.status_code == status
    own = {"origin": url}
    assert httpx.post(f"{url}/v1/completions", json=ASKED, headers=own).status_code == 200


POLICY = {
    "default-src": ["'self'"],
    "base-uri": ["'none'"],
    "form-action": ["'none'"],
    "frame-ancestors": ["'none'"],
    "object-src": ["'none'"],
}
GUARDS = {
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}


@pytest.mark.parametrize(
    ("path", "status"),
    [("/", 200), ("/v1/models", 200), ("/nowhere", 404), ("/static/style.css", 200), ("/v1/completions", 405)],
)
def test_every_answer_is_guarded(path: str, status: int, url: str) -> None:
    """By what is written here, not by what the code says of itself."""
    answer = httpx.get(url + path)
    assert answer.status_code == status
    directives = [part.split() for part in answer.headers["content-security-policy"].split(";")]
    assert {name: sources for name, *sources in directives} == POLICY
    assert {name: answer.headers.get(name) for name in GUARDS} == GUARDS
    assert "access-control-allow-origin" not in answer.headers


def test_every_answer_has_an_id_and_keeps_the_clients(url: str) -> None:
    given = {"x-request-id": "7f3a-b.c:1"}
    for answer in (
        httpx.get(url),
        httpx.get(f"{url}/nowhere"),
        httpx.get(url, headers={"host": "evil.example"}),
        httpx.post(f"{url}/v1/completions", content=b"x"),
        httpx.post(f"{url}/v1/completions", json=ASKED | {"stream": True}),
    ):
        assert re.fullmatch("req_[0-9a-f]{32}", answer.headers["x-request-id"])
    assert httpx.get(url, headers=given).headers["x-request-id"] == "7f3a-b.c:1"
    for odd in ("a b", "x" * 129, "<b>", "é".encode()):
        assert httpx.get(url, headers={"x-request-id": odd}).headers["x-request-id"].startswith("req_")


def test_a_refusal_is_guarded_too(url: str) -> None:
    for answer in (httpx.get(url, headers={"host": "evil.example"}), httpx.post(f"{url}/v1/completions", content=b"x")):
        assert answer.status_code in (421, 415)
        assert answer.headers["x-frame-options"] == "DENY"
        assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_unrated_chats_leave_no_trace(exported: Callable[..., Path], tmp_path: Path) -> None:
    file = tmp_path / "people.sqlite"
    with live(chat_app(LocalEngine.open(exported()), Database(file))) as url:
        secret = "zanzibar"
        asked = {"model": "handbook-1", "messages": [{"role": "user", "content": secret}], "max_tokens": 3}
        assert httpx.post(f"{url}/v1/chat/completions", json=asked).status_code == 200
    time.sleep(0.05)
    assert secret.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert sqlite3.connect(file).execute("SELECT count(*) FROM records").fetchone() == (0,)


def test_the_limit_leaves_room_for_what_is_useful() -> None:
    assert BODY_LIMIT >= 4 * 200_000


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("size", "status"), [(1_000_000, 200), (1_000_001, 413)])
def test_a_body_may_have_a_million_bytes_and_not_one_more(
    size: int, status: int, chunked: bool, tmp_path: Path
) -> None:
    body = json.dumps({"model": "m", "prompt": "x", "user": ""}).encode()
    body = body.replace(b'""', b'"%s"' % (b"x" * (size - len(body))))  # to its last byte it is needed
    assert len(body) == size
    with live(chat_app(Parrot("m", "", "x"), Database(tmp_path / "p.sqlite"))) as url:
        sent = (body[start : start + 70_000] for start in range(0, size, 70_000)) if chunked else body
        answer = httpx.post(f"{url}/v1/completions", content=sent, headers=JSON)
        assert ("content-length" in answer.request.headers) is not chunked
    assert answer.status_code == status
    assert (answer.headers.get("connection") == "close") is (status == 413)


SECRET = "/srv/private/weights.safetensors"


@pytest.mark.parametrize(
    "engine",
    [Failing(OSError(28, "No space left on device", SECRET), after) for after in (-1, 0)],
    ids=["counting", "speaking"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_fails_within_is_an_error_that_names_no_file(engine: Failing, stream: bool, tmp_path: Path) -> None:
    with live(chat_app(engine, Database(tmp_path / "p.sqlite"))) as url:
        answer = httpx.post(f"{url}/v1/completions", json={"model": "m", "prompt": "x", "stream": stream})
        assert answer.status_code == 500
        assert answer.json()["error"] == {
            **{"message": "the server failed; its log says why.", "type": "server_error"},
            **{"param": None, "code": None},
        }
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not any(part in answer.text for part in ("private", "Traceback", ".py", str(tmp_path)))
        assert httpx.get(f"{url}/v1/models").status_code == 200


def test_a_stream_that_fails_within_breaks_off_and_names_no_file(tmp_path: Path) -> None:
    with live(chat_app(Failing(OSError(5, "Input/output error", SECRET), 1), Database(tmp_path / "p.sqlite"))) as url:
        said = b""
        asked = {"model": "m", "prompt": "x", "stream": True}
        with suppress(httpx.HTTPError), httpx.stream("POST", f"{url}/v1/completions", json=asked) as answer:
            for part in answer.iter_raw():
                said += part
        assert b"one" in said
        assert b"[DONE]" not in said
        assert b"private" not in said


def test_a_rating_that_cannot_be_kept_is_an_error_that_names_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(tmp_path / "p.sqlite")

    def full(rating: object) -> int:
        raise sqlite3.OperationalError(f"database or disk is full: {SECRET}")

    monkeypatch.setattr(database, "rate", full)
    decoding = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 20, "seed": 7}
    said = {
        "digest": "digest-of-m",
        "messages": [{"role": "user", "content": "?"}],
        "thumb": "up",
    }
    with live(chat_app(Parrot("m", "", "x"), database)) as url:
        said |= answered(url, {"model": "m", "messages": said["messages"]})
        answer = httpx.post(f"{url}/api/rating", json=said | {"decoding": decoding})
    assert answer.status_code == 500
    assert "private" not in answer.text
    assert answer.json()["error"]["type"] == "server_error"


@pytest.mark.parametrize("path", ["/v1/models/..%2f..%2fetc%2fpasswd", "/nowhere", "/api/match"])
def test_what_is_not_found_is_told_without_a_path_of_this_machine(path: str, url: str) -> None:
    answer = httpx.get(url + path)
    assert answer.status_code == 404
    assert str(Path.cwd()) not in answer.text
    assert "site-packages" not in answer.text


def test_hosts_are_told_apart_whatever_the_case_and_the_port(url: str) -> None:
    for host, status in (
        ("LOCALHOST", b"200"),
        ("localhost:1", b"200"),
        ("[::1]:80", b"200"),
        ("127.0.0.2", b"421"),
        ("::1", b"421"),
    ):
        answer = raw(url, b"GET /v1/models HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % host.encode())
        assert answer.split()[1] == status, host


def test_refusals_carry_what_their_status_asks_for() -> None:
    for wait, header in ((0.0, "1"), (0.4, "1"), (1.0, "2"), (59.2, "60"), (None, None)):
        assert (
            middleware.error_response(RequestRefused(429, "x", retry_after=wait)).headers.get("retry-after") == header
        )
    for status in (400, 401, 403, 404, 408, 413, 415, 421, 429, 500):
        headers = middleware.error_response(RequestRefused(status, "x")).headers
        assert (headers.get("connection") == "close") is (status in (408, 413))
        assert (headers.get("www-authenticate") == "Bearer") is (status == 401)


def test_a_second_origin_is_looked_at_too(url: str) -> None:
    for origins, status in (
        ([url, "https://evil.example"], 403),
        (["https://evil.example", url], 403),
        ([url, url], 200),
    ):
        headers = [("content-type", "application/json"), *(("origin", origin) for origin in origins)]
        assert httpx.post(f"{url}/v1/completions", content=json.dumps(ASKED), headers=headers).status_code == status


@pytest.mark.parametrize("sent", [b"", b'{"model"'])
def test_who_leaves_while_sending_is_no_mistake_of_ours(
    sent: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with live(chat_app(Parrot("m", "", "x"), Database(tmp_path / "p.sqlite"))) as url:
        host = urlsplit(url).netloc
        head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        with socket.create_connection((urlsplit(url).hostname or "", urlsplit(url).port or 0), timeout=10) as sock:
            sock.sendall(head.encode() + sent)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass
        assert httpx.get(f"{url}/v1/models").status_code == 200
    assert not [record for record in caplog.records if record.exc_info]


def test_a_database_that_is_locked_is_503_and_holds_up_no_stream(tmp_path: Path) -> None:
    """In a file without a write-ahead log, as some file systems want it, a writer keeps readers out."""
    database = Database(tmp_path / "p.sqlite")
    token = new_token(database, "eva")
    headers = {"authorization": f"Bearer {token}"}
    asked = {"model": "m", "prompt": "x", "stream": True}
    with (
        live(chat_app(Parrot("m", "", "word " * 60, 0.02), database)) as url,
        ThreadPoolExecutor(1) as pool,
        httpx.stream("POST", f"{url}/v1/completions", json=asked, headers=headers, timeout=20) as stream,
    ):
        lines = stream.iter_lines()
        next(lines)
        with sqlite3.connect(tmp_path / "p.sqlite") as plain, sqlite3.connect(tmp_path / "copy.sqlite") as copy:
            plain.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
        copy.isolation_level = None
        copy.execute("BEGIN EXCLUSIVE")
        database._reader = sqlite3.connect(tmp_path / "copy.sqlite", timeout=1, check_same_thread=False)
        locked = pool.submit(httpx.get, f"{url}/v1/models", headers=headers, timeout=20)
        times = [time.monotonic()]
        for line in lines:
            if line:
                times.append(time.monotonic())
        assert max(later - earlier for earlier, later in pairwise(times)) < 0.9
        answer = locked.result()
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "6")
        assert "another process is using the database" in answer.json()["error"]["message"]
        copy.execute("ROLLBACK")
        assert httpx.get(f"{url}/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize("origin", ["http://[", "http://]", "http://[::1", "http://[x]", "//", "\x80"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_an_origin_that_is_none_is_a_mistake_of_the_clients(origin: str, method: str, url: str) -> None:
    headers = {**JSON, "origin": origin.encode("latin-1")}  # type: ignore[dict-item]
    answer = httpx.request(method, f"{url}/v1/completions", content=json.dumps(ASKED), headers=headers)
    assert answer.status_code == (405 if method == "GET" else 403)


@pytest.mark.slow
def test_others_are_answered_while_a_rating_waits_for_the_file(tmp_path: Path) -> None:
    database = Database(tmp_path / "p.sqlite")
    export = sqlite3.connect(tmp_path / "p.sqlite", isolation_level=None)
    decoding = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 20, "seed": 7}
    said = {
        "digest": "digest-of-m",
        "messages": [{"role": "user", "content": "?"}],
        "thumb": "up",
    }
    with live(chat_app(Parrot("m", "", "x"), database)) as url, ThreadPoolExecutor(1) as pool:
        said |= answered(url, {"model": "m", "messages": said["messages"]})
        export.execute("BEGIN IMMEDIATE")
        try:
            rating = pool.submit(httpx.post, f"{url}/api/rating", json=said | {"decoding": decoding}, timeout=60)
            for _ in range(20):
                assert httpx.get(f"{url}/v1/models", timeout=20).status_code == 200
                time.sleep(0.01)
            assert not rating.done()
        finally:
            export.execute("ROLLBACK")
        assert rating.result().json() == {"edition": 1}
