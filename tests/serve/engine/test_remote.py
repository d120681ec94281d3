"""Another server behind this one: ours behind ours, and some that break."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from fastapi import FastAPI
from fastapi import Request as Call
from openai import OpenAI
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from privllm.core.errors import UserError
from privllm.feedback.records import Message
from privllm.serve.app import chat_app
from privllm.serve.database import Database
from privllm.serve.engine import remote
from privllm.serve.engine.base import GenerationRequest, SamplingSettings
from privllm.serve.engine.local import LocalEngine
from privllm.serve.engine.remote import RemoteEngine
from tests.serve.fakes import completion
from tests.serve.live import live

pytestmark = pytest.mark.slow  # each starts servers


@pytest.fixture(scope="module")
def chain(
    exported: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[OpenAI, OpenAI, LocalEngine]]:
    """(a client of the front, a client of the back, the engine at the back)."""
    folder, engine = tmp_path_factory.mktemp("chain"), LocalEngine.open(exported(), "", 2, 0)
    with (
        live(chat_app(engine, Database(folder / "back.sqlite"))) as back,
        live(chat_app(RemoteEngine(back), Database(folder / "p.sqlite"))) as front,
    ):
        yield *(OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) for url in (front, back)), engine  # type: ignore[misc]


def test_it_says_what_the_server_behind_says(chain: tuple[OpenAI, OpenAI, LocalEngine]) -> None:
    front, back, _ = chain
    assert front.models.list().data == back.models.list().data
    asked: dict[str, Any] = {"model": "handbook-1", "max_tokens": 20, "temperature": 1, "seed": 3, "stop": ["zzz"]}
    for make in (
        lambda client: client.completions.create(prompt="the page", **asked).choices[0].text,
        lambda client: (
            client.chat.completions.create(messages=[{"role": "user", "content": "row"}], **asked)
            .choices[0]
            .message.content
        ),
        lambda client: client.completions.create(prompt="the page", **asked).usage,
        lambda client: client.completions.create(prompt=[5, 6, 7], **asked).choices,
        lambda client: client.completions.create(prompt=["a", "b"], **asked).choices,
        lambda client: client.completions.create(prompt="a", echo=True, logprobs=2, **asked).choices,
        lambda client: (
            client.chat.completions.create(
                messages=[{"role": "user", "content": "row"}], logprobs=True, top_logprobs=2, **asked
            ).choices
        ),
        lambda client: (
            client.completions.create(
                prompt="row",
                presence_penalty=1,
                frequency_penalty=0.5,
                extra_body={"top_k": 5, "min_p": 0.01, "repetition_penalty": 1.5},
                **asked,
            ).choices
        ),
    ):
        assert make(front) == make(back)


def test_a_begun_reply_is_written_on_behind_it_too(chain: tuple[OpenAI, OpenAI, LocalEngine]) -> None:
    front, back, _ = chain
    turns = [{"role": "user", "content": "row"}, {"role": "assistant", "content": " of the"}]
    asked: dict[str, Any] = {"model": "handbook-1", "messages": turns, "temperature": 0, "max_tokens": 12}
    on = {"continue_final_message": True, "add_generation_prompt": False}
    front_text, back_text = (
        client.chat.completions.create(**asked, extra_body=on).choices[0].message.content for client in (front, back)
    )
    assert front_text == back_text
    text = back.completions.create(model="handbook-1", prompt="row of the", temperature=0, max_tokens=12)
    assert back_text == text.choices[0].text  # of a model that is not tuned


def test_its_refusals_come_through_and_closing_reaches_it(chain: tuple[OpenAI, OpenAI, LocalEngine]) -> None:
    front, _, engine = chain
    with pytest.raises(openai.BadRequestError, match="sees 96 at once"):
        front.completions.create(model="handbook-1", prompt="row " * 500)
    held = [
        front.completions.create(model="handbook-1", prompt="the", max_tokens=4096, temperature=0, stream=True)
        for _ in range(2)
    ]
    with pytest.raises(openai.RateLimitError):
        front.completions.create(model="handbook-1", prompt="the")
    for stream in held:
        stream.close()
    deadline = time.monotonic() + 3
    while engine.running:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def broken(answer: Callable[[], Response]) -> FastAPI:
    app = FastAPI()

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"data": [{"id": "m"}]}

    @app.post("/v1/completions")
    def completions(call: Call) -> Response:
        return answer()

    return app


CHUNK = 'data: {"choices": [{"text": "hi"}]}\n\n'
ANSWERS: dict[str, tuple[Callable[[], Response], type[Exception]]] = {
    "cut off": (lambda: PlainTextResponse(CHUNK), openai.InternalServerError),
    "no JSON": (lambda: PlainTextResponse("data: {\n\n"), openai.InternalServerError),
    "another form": (lambda: PlainTextResponse('data: {"choices": "x"}\n\n'), openai.InternalServerError),
    "a number for a text": (
        lambda: PlainTextResponse('data: {"choices": [{"text": 5}]}\n\n'),
        openai.InternalServerError,
    ),
    "a list for a usage": (
        lambda: PlainTextResponse('data: {"usage": [5], "choices": []}\n\n'),
        openai.InternalServerError,
    ),
    "failing": (lambda: PlainTextResponse("oops", 500), openai.InternalServerError),
    "its own key is wrong": (lambda: JSONResponse({"error": {"message": "key"}}, 401), openai.InternalServerError),
    "elsewhere": (
        lambda: PlainTextResponse("", 307, {"location": "https://evil.example/"}),
        openai.InternalServerError,
    ),
    "too busy": (
        lambda: JSONResponse({"error": {"message": "busy"}}, 429, {"retry-after": "7"}),
        openai.RateLimitError,
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_server_that_breaks(name: str, tmp_path: Path) -> None:
    answer, raised = ANSWERS[name]
    with (
        live(broken(answer)) as back,
        live(chat_app(RemoteEngine(f"{back}/v1/"), Database(tmp_path / "p.sqlite"))) as front,
    ):
        client = OpenAI(base_url=f"{front}/v1", api_key="none", max_retries=0)
        with pytest.raises(raised) as refused:
            client.completions.create(model="m", prompt="x")
        assert refused.value.status_code == (429 if name == "too busy" else 502)  # type: ignore[attr-defined]
        if name == "too busy":
            assert refused.value.response.headers["retry-after"] in ("7", "8")  # type: ignore[attr-defined]


def test_true_usage_or_none(tmp_path: Path) -> None:
    with (
        live(broken(lambda: PlainTextResponse(CHUNK + "data: [DONE]\n\n"))) as back,
        live(chat_app(RemoteEngine(back), Database(tmp_path / "p.sqlite"))) as front,
    ):
        made = OpenAI(base_url=f"{front}/v1", api_key="none").completions.create(model="m", prompt="x")
        assert (made.choices[0].text, made.usage) == ("hi", None)


def test_what_is_no_server_is_explained() -> None:
    for url in ("ftp://x", "127.0.0.1:80", "file:///etc/passwd", "http://"):
        with pytest.raises(UserError, match="--engine takes the address"):
            RemoteEngine(url)
    with pytest.raises(UserError, match="Is it running"):
        RemoteEngine("http://127.0.0.1:9")
    with live(broken(lambda: Response())) as back, pytest.raises(UserError, match="no model `other`: it has m"):
        RemoteEngine(back, "other")


def called(seen: list[tuple[str, str, str]]) -> FastAPI:
    """A server that answers everything as an engine would, and notes each call: (method, path, key)."""
    app = broken(lambda: PlainTextResponse(CHUNK + "data: [DONE]\n\n"))

    @app.middleware("http")
    async def note(call: Call, go_on):
        seen.append((call.method, call.url.path, call.headers.get("authorization", "")))
        return await go_on(call)

    return app


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed_to_another_server(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What people type, and the key, would go wherever the answer says."""
    monkeypatch.setenv("PRIVLLM_ENGINE_KEY", "secret")
    seen: list[tuple[str, str, str]] = []
    with live(called(seen)) as elsewhere:
        moved = PlainTextResponse("", status, {"location": f"{elsewhere}/v1/completions"})
        with (
            live(broken(lambda: moved)) as back,
            live(chat_app(RemoteEngine(back), Database(tmp_path / "p.sqlite"))) as front,
        ):
            for stream in (False, True):
                answer = httpx.post(f"{front}/v1/completions", json={"model": "m", "prompt": "x", "stream": stream})
                assert (answer.status_code, "location" in answer.headers) == (502, False)
        listed = FastAPI()

        @listed.get("/v1/models")
        def models() -> Response:
            return PlainTextResponse("", status, {"location": f"{elsewhere}/v1/models"})

        with live(listed) as back, pytest.raises(UserError, match="does not answer as an OpenAI-compatible server"):
            RemoteEngine(back)
        assert seen == []


def test_no_proxy_of_the_environment_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str, str]] = []
    with live(called(seen)) as proxy, live(called([])) as back:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        engine = RemoteEngine(back)
        with live(chat_app(engine, Database(tmp_path / "p.sqlite"))) as front, httpx.Client(trust_env=False) as client:
            assert (
                client.post(f"{front}/v1/completions", json={"model": "m", "prompt": "x"}).json()["choices"][0]["text"]
                == "hi"
            )
    assert seen == []


@pytest.mark.parametrize("key", ["", "our-key"])
def test_the_servers_own_key_goes_behind_and_no_callers(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRIVLLM_ENGINE_KEY", key)
    seen: list[tuple[str, str, str]] = []
    with live(called(seen)) as back, live(chat_app(RemoteEngine(back), Database(tmp_path / "p.sqlite"))) as front:
        httpx.post(
            f"{front}/v1/completions", json={"model": "m", "prompt": "x"}, headers={"authorization": "Bearer theirs"}
        )
    assert [(method, path) for method, path, _ in seen] == [("GET", "/v1/models"), ("POST", "/v1/completions")]
    assert {given for _, _, given in seen} == {f"Bearer {key}" if key else ""}


@pytest.mark.parametrize(
    ("status", "told"),
    [(400, 400), (404, 404), (413, 413), (422, 422), (401, 502), (403, 502), (405, 502), (500, 502), (503, 502)],
)
def test_only_what_a_caller_can_mend_is_passed_on(status: int, told: int, tmp_path: Path) -> None:
    """An error of the other server's own may name its files, or repeat a part of the key that it was given."""
    said = {"error": {"message": "Incorrect API key provided: sk-12, see /srv/private", "param": "prompt"}}
    with (
        live(broken(lambda: JSONResponse(said, status))) as back,
        live(chat_app(RemoteEngine(back), Database(tmp_path / "p.sqlite"))) as front,
    ):
        answer = httpx.post(f"{front}/v1/completions", json={"model": "m", "prompt": "x"})
    assert answer.status_code == told
    assert ("sk-12" in answer.text) is (told == status)
    assert answer.json()["error"]["param"] == ("prompt" if told == status else None)


def test_an_error_within_a_stream_is_told_without_its_words(tmp_path: Path) -> None:
    said = CHUNK + 'data: {"error": {"message": "CUDA at /srv/private"}}\n\n'
    with (
        live(broken(lambda: PlainTextResponse(said))) as back,
        live(chat_app(RemoteEngine(back), Database(tmp_path / "p.sqlite"))) as front,
    ):
        answer = httpx.post(f"{front}/v1/completions", json={"model": "m", "prompt": "x", "stream": True})
    assert "broke off" in answer.text
    assert "private" not in answer.text
    assert "[DONE]" not in answer.text


@pytest.mark.parametrize(
    ("after", "told"),
    [("0", "1"), ("7", "8"), ("", "2"), ("soon", "2"), ("\u00b2", "2"), ("9" * 400, "3600"), ("-5", "2")],
)
def test_when_to_come_back_is_a_number_of_seconds(after: str, told: str, tmp_path: Path) -> None:
    busy = JSONResponse({"error": {"message": "busy"}}, 429, {"retry-after": after})
    with (
        live(broken(lambda: busy)) as back,
        live(chat_app(RemoteEngine(back), Database(tmp_path / "p.sqlite"))) as front,
    ):
        answer = httpx.post(f"{front}/v1/completions", json={"model": "m", "prompt": "x"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, told)


def test_usage_is_counted_only_where_it_is_a_count(tmp_path: Path) -> None:
    usage = '{"prompt_tokens": -3, "completion_tokens": "many"}'
    said = CHUNK + f'data: {{"choices": [], "usage": {usage}}}\n\ndata: [DONE]\n\n'
    with (
        live(broken(lambda: PlainTextResponse(said))) as back,
        live(chat_app(RemoteEngine(back), Database(tmp_path / "p.sqlite"))) as front,
    ):
        assert httpx.post(f"{front}/v1/completions", json={"model": "m", "prompt": "x"}).json()["usage"] is None


def test_an_error_that_never_ends_is_not_read_to_its_end(tmp_path: Path) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100_000_000:
            sent += 10_000
            yield b"x" * 10_000
            await asyncio.sleep(0)  # here it is seen that the caller left

    answer = StreamingResponse(endless(), 400)
    with (
        live(broken(lambda: answer)) as back,
        live(chat_app(RemoteEngine(back), Database(tmp_path / "p.sqlite"))) as front,
    ):
        told = httpx.post(f"{front}/v1/completions", json={"model": "m", "prompt": "x"}, timeout=30)
    assert (told.status_code, "answered 400" in told.text) == (400, True)
    assert sent < 50_000_000


@pytest.mark.parametrize(
    ("chunks", "text", "reason"),
    [
        ([CHUNK.replace("hi", r"a\ud800b"), "data: [DONE]\n\n"], "a\ufffdb", "stop"),
        (['data: {"error": null, "choices": [{"text": "hi"}]}\n\n', "data: [DONE]\n\n"], "hi", "stop"),
        (['data: {"choices": [{"text": "hi", "finish_reason": "length"}]}\n\n'], "hi", "length"),
    ],
)
def test_what_other_servers_send_is_understood(chunks: list[str], text: str, reason: str, tmp_path: Path) -> None:
    """Half a character, an error that is none, and an end that is told by its reason alone."""
    lines = [chunk.encode() for chunk in chunks]
    whole = said_by(lines, tmp_path).json()["choices"][0]
    assert (whole["text"], whole["finish_reason"]) == (text, reason)
    streamed = said_by(lines, tmp_path, stream=True).text
    assert (text in streamed, streamed.endswith("data: [DONE]\n\n")) == (True, True)


def test_many_replies_neither_wait_for_each_other_nor_make_it_ill() -> None:
    open_at_once, most = 0, 0

    async def slow() -> AsyncIterator[bytes]:
        nonlocal open_at_once, most
        open_at_once += 1
        most = max(most, open_at_once)
        await asyncio.sleep(2)
        open_at_once -= 1
        yield (CHUNK + "data: [DONE]\n\n").encode()

    async def ask_all(engine: RemoteEngine) -> bool:
        async def ask() -> None:
            async for _ in engine.stream(completion("x")):
                pass

        asking = [asyncio.create_task(ask()) for _ in range(130)]
        await asyncio.sleep(1)
        healthy = await engine.healthy()
        await asyncio.gather(*asking)
        return healthy

    with live(broken(lambda: StreamingResponse(slow()))) as back:
        assert asyncio.run(ask_all(RemoteEngine(back)))
    assert most == 130


def test_what_a_prompt_may_cost_is_guessed_from_its_bytes() -> None:
    with live(broken(Response)) as back:
        engine = RemoteEngine(back)
    messages = (Message("user", "abcd"), Message("assistant", "é" * 4), Message("user", "x" * 8))
    sizes = [
        asyncio.run(engine.count_tokens(ask))
        for ask in (
            completion(""),
            completion("x" * 40),
            GenerationRequest(messages, "", SamplingSettings()),
        )
    ]
    assert sizes == [1, 11, 6]


def said_by(lines: list[bytes], tmp_path: Path, chat: bool = False, stream: bool = False) -> httpx.Response:
    """The front's answer, where the server behind it sends these parts."""

    async def parts() -> AsyncIterator[bytes]:
        for line in lines:
            yield line
            await asyncio.sleep(0.01)

    app = broken(lambda: StreamingResponse(parts()))
    app.add_api_route("/v1/chat/completions", lambda: StreamingResponse(parts()), methods=["POST"])
    with live(app) as back, live(chat_app(RemoteEngine(back), Database(tmp_path / "p.sqlite"))) as front:
        asked: dict[str, Any] = {"model": "m", "stream": stream}
        path = "/v1/chat/completions" if chat else "/v1/completions"
        asked |= {"messages": [{"role": "user", "content": "x"}]} if chat else {"prompt": "x"}
        return httpx.post(front + path, json=asked)


def test_only_line_feeds_end_lines(tmp_path: Path) -> None:
    """A text may hold what other tools take for the end of a line, and parts may end anywhere."""
    text = "a\u2028b\u2029c\x85d\x0be"
    line = b'data: {"choices": [{"text": "%s"}]}\r\n\r\n' % text.replace("\x0b", "\\u000b").encode()
    whole = line + b"data: [DONE]\n\n"
    for size in (1, 7, len(whole)):
        parts = [whole[start : start + size] for start in range(0, len(whole), size)]
        assert said_by(parts, tmp_path).json()["choices"][0]["text"] == text


def test_a_line_that_never_ends_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LINE_BYTES", 1000)
    answer = said_by([b"data: " + b"x" * 600] * 4, tmp_path)
    assert (answer.status_code, "does not end" in answer.text) == (502, True)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_what_a_model_thinks_is_passed_on(name: str, tmp_path: Path) -> None:
    deltas = [{"role": "assistant", "content": ""}, {name: "hm "}, {name: "so"}, {"content": "hi"}]
    lines = [b"data: %s\n\n" % json.dumps({"choices": [{"delta": delta}]}).encode() for delta in deltas]
    whole = said_by([*lines, b"data: [DONE]\n\n"], tmp_path, chat=True).json()["choices"][0]["message"]
    assert (whole["reasoning_content"], whole["content"]) == ("hm so", "hi")
    streamed = said_by([*lines, b"data: [DONE]\n\n"], tmp_path, chat=True, stream=True).text
    found = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    thoughts = [chunk["choices"][0]["delta"].get("reasoning_content", "") for chunk in found]
    assert "".join(thoughts) == "hm so"


REFUSALS = {
    "vLLM": {"message": "This model's maximum context length is 9 tokens. However, you requested 20.", "code": 400},
    "llama.cpp": {
        "message": "the request exceeds the available context size, try increasing it",
        "type": "exceed_context_size_error",
        "code": 400,
    },
    "OpenAI": {"message": "too long", "code": "context_length_exceeded", "param": "messages"},
}


@pytest.mark.parametrize("name", REFUSALS)
def test_turns_leave_where_the_server_behind_has_no_room_for_them(name: str, tmp_path: Path) -> None:
    asked: list[list[str]] = []
    app = broken(Response)

    @app.post("/v1/chat/completions")
    async def chat(call: Call) -> Response:
        asked.append([message["content"] for message in (await call.json())["messages"]])
        if len(asked[-1]) > 5:
            return JSONResponse({"error": REFUSALS[name]}, 400)
        return PlainTextResponse('data: {"choices": [{"delta": {"content": "hi"}}]}\n\ndata: [DONE]\n\n')

    talk = [{"role": "system", "content": "s"}]
    talk += [{"role": ("user", "assistant")[i % 2], "content": str(i)} for i in range(13)]
    with live(app) as back, live(chat_app(RemoteEngine(back), Database(tmp_path / "p.sqlite"))) as front:
        made = httpx.post(f"{front}/v1/chat/completions", json={"model": "m", "messages": talk}).json()
        assert [len(contents) for contents in asked] == [14, 8, 4]
        assert asked[-1] == ["s", "10", "11", "12"]
        assert (made["choices"][0]["message"]["content"], made["privllm"]) == ("hi", {"left_out": 10})
        asked.clear()
        only = [{"role": "system", "content": "s"}] * 5 + talk[1:2]  # nothing that could leave
        answer = httpx.post(f"{front}/v1/chat/completions", json={"model": "m", "messages": only})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
        assert len(asked) == 1
