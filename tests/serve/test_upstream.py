"""Another server behind this one: ours behind ours, and some that break."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from fastapi import FastAPI
from fastapi import Request as Call
from openai import OpenAI
from starlette.responses import JSONResponse, PlainTextResponse, Response

from privllm.core.errors import UserError
from privllm.serve.batched import Batched
from privllm.serve.people import People
from privllm.serve.server import chat_app
from privllm.serve.upstream import Upstream
from tests.serve.live import live


@pytest.fixture(scope="module")
def chain(exported: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OpenAI, OpenAI, Batched]]:
    """(a client of the front, a client of the back, the engine at the back)."""
    folder, engine = tmp_path_factory.mktemp("chain"), Batched.open(exported(), "", 2, 0)
    with (
        live(chat_app(engine, People(folder / "back.sqlite"))) as back,
        live(chat_app(Upstream(back), People(folder / "p.sqlite"))) as front,
    ):
        yield *(OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) for url in (front, back)), engine  # type: ignore[misc]


def test_it_says_what_the_server_behind_says(chain: tuple[OpenAI, OpenAI, Batched]) -> None:
    front, back, _ = chain
    assert front.models.list().data == back.models.list().data
    asked: dict[str, Any] = {"model": "handbook-1", "max_tokens": 20, "temperature": 1, "seed": 3, "stop": ["zzz"]}
    for make in (
        lambda client: client.completions.create(prompt="the page", **asked).choices[0].text,
        lambda client: client.chat.completions.create(messages=[{"role": "user", "content": "row"}], **asked).choices[0].message.content,
        lambda client: client.completions.create(prompt="the page", **asked).usage,
    ):
        assert make(front) == make(back)


def test_its_refusals_come_through_and_closing_reaches_it(chain: tuple[OpenAI, OpenAI, Batched]) -> None:
    front, _, engine = chain
    with pytest.raises(openai.BadRequestError, match="sees 96 at once"):
        front.completions.create(model="handbook-1", prompt="row " * 500)
    held = [front.completions.create(model="handbook-1", prompt="the", max_tokens=4096, temperature=0, stream=True) for _ in range(2)]
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
    "failing": (lambda: PlainTextResponse("oops", 500), openai.InternalServerError),
    "its own key is wrong": (lambda: JSONResponse({"error": {"message": "key"}}, 401), openai.InternalServerError),
    "elsewhere": (lambda: PlainTextResponse("", 307, {"location": "https://evil.example/"}), openai.InternalServerError),
    "too busy": (lambda: JSONResponse({"error": {"message": "busy"}}, 429, {"retry-after": "7"}), openai.RateLimitError),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_server_that_breaks(name: str, tmp_path: Path) -> None:
    answer, raised = ANSWERS[name]
    with live(broken(answer)) as back, live(chat_app(Upstream(f"{back}/v1/"), People(tmp_path / "p.sqlite"))) as front:
        client = OpenAI(base_url=f"{front}/v1", api_key="none", max_retries=0)
        with pytest.raises(raised) as refused:
            client.completions.create(model="m", prompt="x")
        if name == "too busy":
            assert refused.value.response.headers["retry-after"] in ("7", "8")  # type: ignore[attr-defined]


def test_true_usage_or_none(tmp_path: Path) -> None:
    with (
        live(broken(lambda: PlainTextResponse(CHUNK + "data: [DONE]\n\n"))) as back,
        live(chat_app(Upstream(back), People(tmp_path / "p.sqlite"))) as front,
    ):
        made = OpenAI(base_url=f"{front}/v1", api_key="none").completions.create(model="m", prompt="x")
        assert (made.choices[0].text, made.usage) == ("hi", None)


def test_what_is_no_server_is_explained() -> None:
    for url in ("ftp://x", "127.0.0.1:80", "file:///etc/passwd", "http://"):
        with pytest.raises(UserError, match="--engine takes the address"):
            Upstream(url)
    with pytest.raises(UserError, match="Is it running"):
        Upstream("http://127.0.0.1:9")
    with live(broken(lambda: Response())) as back, pytest.raises(UserError, match="no model `other`: it has m"):
        Upstream(back, "other")
