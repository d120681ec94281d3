"""The official `openai` client against a server that listens."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
from openai import OpenAI

from privllm.feedback.records import Message
from privllm.serve.app import chat_app
from privllm.serve.auth import new_token
from privllm.serve.database import Database
from privllm.serve.engine.base import GenerationRequest, RequestRefused, SamplingSettings, Text
from privllm.serve.engine.local import LocalEngine
from tests.serve.engine.test_scheduler import opened, oracle
from tests.serve.fakes import Failing, Parrot, Silent, completion
from tests.serve.live import live

NAME = "handbook-1"


@pytest.fixture(scope="module")
def engine(exported: Callable[..., Path]) -> LocalEngine:
    return LocalEngine.open(exported(), "", 16, 16)


@pytest.fixture(scope="module")
def client(engine: LocalEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    with live(chat_app(engine, Database(tmp_path_factory.mktemp("calls") / "people.sqlite"))) as url:
        yield OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def alone(folder: Path, text: str, settings: SamplingSettings) -> str:
    return oracle(folder, opened(folder)[1].encode(GenerationRequest(None, text, settings)), settings)[0]


def test_models_say_what_they_are(client: OpenAI) -> None:
    (model,) = client.models.list().data
    assert model.id == NAME
    assert client.models.retrieve(NAME) == model
    ours = model.model_extra["privllm"]  # type: ignore[index]
    assert (ours["tuned"], ours["context"]) == (False, 96)
    assert "continues" in ours["note"]


@pytest.mark.slow
def test_chat_and_completion_say_what_generate_says(client: OpenAI, exported: Callable[..., Path]) -> None:
    wanted = alone(exported(), "the page", SamplingSettings(20, 0.0))
    messages = [
        {"role": "user", "content": "gone"},
        {"role": "assistant", "content": "too"},
        {"role": "user", "content": "the page"},
    ]
    chat = client.chat.completions.create(model=NAME, messages=messages, max_completion_tokens=20, temperature=0)  # type: ignore[call-overload]
    assert chat.choices[0].message.content == wanted
    assert chat.choices[0].finish_reason == "length"
    text = client.completions.create(model=NAME, prompt="the page", max_tokens=20, temperature=0)
    assert text.choices[0].text == wanted
    assert text.usage == chat.usage
    ids = opened(exported())[1].encode(completion("the page"))
    assert (text.usage.prompt_tokens, text.usage.completion_tokens) == (len(ids), 20)  # type: ignore[union-attr]
    assert text.usage.total_tokens == len(ids) + 20  # type: ignore[union-attr]


def test_streams_add_up_and_count(client: OpenAI, exported: Callable[..., Path]) -> None:
    asked = {
        "model": NAME,
        "max_tokens": 30,
        "temperature": 1.0,
        "top_p": 1.0,
        "seed": 4,
        "stream_options": {"include_usage": True},
    }
    wanted = alone(exported(), "the row", SamplingSettings(30, 1.0, 1.0, 4))
    chat = list(client.chat.completions.create(messages=[{"role": "user", "content": "the row"}], stream=True, **asked))  # type: ignore[call-overload]
    assert "".join(c.choices[0].delta.content or "" for c in chat if c.choices) == wanted
    assert chat[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chat if c.choices][-1] in ("length", "stop")
    assert chat[-1].usage.completion_tokens <= 30
    assert len({c.id for c in chat}) == 1
    text = list(client.completions.create(prompt=["the row"], stream=True, **asked))  # type: ignore[call-overload]
    assert "".join(c.choices[0].text for c in text if c.choices) == wanted


def test_a_stop_text_ends_it(client: OpenAI, exported: Callable[..., Path]) -> None:
    wanted = alone(exported(), "the page", SamplingSettings(40, 0.0))
    stop = wanted[9:12]
    made = client.completions.create(model=NAME, prompt="the page", max_tokens=40, temperature=0, stop=[stop])
    assert made.choices[0].text == wanted[: wanted.index(stop)]
    assert made.choices[0].finish_reason == "stop"


def test_a_tuned_model_answers_messages(exported: Callable[..., Path], tmp_path: Path) -> None:
    folder = exported(tuned=True)
    messages = [
        {"role": "user", "content": "the <|end|>"},
        {"role": "assistant", "content": "row"},
        {"role": "user", "content": "and?"},
    ]
    ids = opened(folder)[1].encode(GenerationRequest(tuple(Message(**m) for m in messages), "", SamplingSettings()))  # type: ignore[arg-type]
    with live(chat_app(LocalEngine.open(folder), Database(tmp_path / "p.sqlite"))) as url:
        client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        made = client.chat.completions.create(model=NAME, messages=messages, max_tokens=8, temperature=0)  # type: ignore[call-overload]
        assert made.usage.prompt_tokens == len(ids)
        with pytest.raises(openai.BadRequestError, match="may only be the first one"):
            client.chat.completions.create(
                model=NAME, messages=[*messages[:2], {"role": "system", "content": "x"}, messages[2]]
            )  # type: ignore[call-overload]


REFUSED = {
    "n": {"n": 65},
    "tools": {"tools": [{"type": "function", "function": {"name": "f"}}]},
    "top_logprobs": {"top_logprobs": 3},
    "response_format": {"response_format": {"type": "json_schema"}},
    "frequency_penalty": {"frequency_penalty": 2.5},
    "logit_bias": {"logit_bias": {"1": 1}},
    "temperature": {"temperature": 3},
    "top_p": {"top_p": 0},
    "max_tokens": {"max_tokens": 0},
    "stop": {"stop": ["a"] * 5},
    "messages": {"messages": []},
    "messages[0].role": {"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_supported_is_refused_by_name(name: str, client: OpenAI) -> None:
    asked = {"model": NAME, "messages": [{"role": "user", "content": "x"}], "max_tokens": 1} | REFUSED[name]
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**asked)  # type: ignore[call-overload]
    assert refused.value.param == name
    assert f"`{name}`" in refused.value.message


def test_the_usual_may_stand(client: OpenAI) -> None:
    client.chat.completions.create(
        model=NAME, messages=[{"role": "user", "content": [{"type": "text", "text": "x"}]}], max_tokens=1, n=1, frequency_penalty=0.0,
        logprobs=False, tools=[], tool_choice="none", response_format={"type": "text"}, user="eva", logit_bias={},
    )  # fmt: skip


def test_another_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="handbook-1"):
        client.completions.create(model="gpt-4", prompt="x")


def test_a_prompt_beyond_the_context(client: OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="sees 96 at once"):
            client.completions.create(model=NAME, prompt="row " * 1000, stream=stream)


@pytest.mark.slow
def test_no_reply_is_mixed_up(client: OpenAI, exported: Callable[..., Path]) -> None:
    texts = [f"the page {i} keeps" for i in range(24)]

    def reply(text: str) -> str:
        chunks = client.completions.create(model=NAME, prompt=text, max_tokens=25, temperature=0, stream=True)
        return "".join(chunk.choices[0].text for chunk in chunks)

    with ThreadPoolExecutor(24) as pool:
        assert list(pool.map(reply, texts)) == [alone(exported(), text, SamplingSettings(25, 0.0)) for text in texts]


def test_a_vanished_client_stops_its_generation(client: OpenAI, engine: LocalEngine) -> None:
    asked = {"model": NAME, "prompt": "the", "max_tokens": 4096, "temperature": 0}
    stream = client.completions.create(stream=True, **asked)  # type: ignore[call-overload]
    next(iter(stream))
    assert engine.running >= 1
    stream.close()
    gone(engine)
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.3).completions.create(**asked)  # type: ignore[call-overload]
    gone(engine)


def gone(engine: LocalEngine) -> None:
    deadline = time.monotonic() + 3
    while engine.running:
        assert time.monotonic() < deadline, "it is still generating"
        time.sleep(0.02)


def test_overload_answers_429_and_says_when_to_come_back(exported: Callable[..., Path], tmp_path: Path) -> None:
    with live(chat_app(LocalEngine.open(exported(), "", 1, 1), Database(tmp_path / "p.sqlite"))) as url:
        client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        asked = {"model": NAME, "prompt": "the", "max_tokens": 4096, "temperature": 0, "stream": True}
        with ThreadPoolExecutor(2) as pool:
            held = pool.submit(lambda: client.completions.create(**asked)).result()  # type: ignore[call-overload]
            waiting = pool.submit(lambda: client.completions.create(**asked))  # type: ignore[call-overload]
            time.sleep(0.2)
            with pytest.raises(openai.RateLimitError) as refused:
                client.completions.create(**asked)  # type: ignore[call-overload]
            assert int(refused.value.response.headers["retry-after"]) >= 1
            held.close()
            waiting.result().close()


def test_tokens_are_wanted_once_there_are_some_and_limit_their_owner(
    engine: LocalEngine, tmp_path: Path, exported: Callable[..., Path]
) -> None:
    database = Database(tmp_path / "p.sqlite")
    with live(chat_app(LocalEngine.open(exported()), database)) as url:
        client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        asked = {"model": NAME, "prompt": "the", "max_tokens": 5}
        client.completions.create(**asked)  # type: ignore[call-overload]
        token = new_token(database, "eva", requests_per_minute=2, tokens_per_minute=300)
        for call in (client.models.list, lambda: client.completions.create(**asked)):  # type: ignore[call-overload]
            with pytest.raises(openai.AuthenticationError):
                call()  # type: ignore[operator]
        eva = client.with_options(api_key=token)
        eva.models.list()
        with pytest.raises(openai.RateLimitError, match="more than this access token may use"):
            eva.completions.create(model=NAME, prompt="the", max_tokens=400)
        eva.completions.create(**asked)  # type: ignore[call-overload]
        eva.completions.create(**asked)  # type: ignore[call-overload]
        with pytest.raises(openai.RateLimitError, match="limit for a minute") as refused:
            eva.completions.create(**asked)  # type: ignore[call-overload]
        assert 1 <= int(refused.value.response.headers["retry-after"]) <= 31
        database.revoke("eva", "now")
        with pytest.raises(openai.AuthenticationError):
            eva.models.list()


ENDINGS = {
    "whole": (Parrot("m", "", "one two"), {}),
    "stream": (Parrot("m", "", "one two"), {"stream": True}),
    "an error": (Failing(OSError("x")), {}),
    "an error of a stream": (Failing(RequestRefused(502, "x"), after=1), {"stream": True}),
    "gone before a word": (Silent("m", "", ""), {}),
    "gone before a streamed word": (Silent("m", "", ""), {"stream": True}),
    "gone in the middle": (Parrot("m", "", "word " * 10_000, 0.001), {"stream": True}),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_after_any_ending_a_token_may_ask_for_as_much_again(name: str, tmp_path: Path) -> None:
    """A reply may cost 903 of 1,000 tokens; were they not given back, the next would be refused for most of a minute."""
    engine, more = ENDINGS[name]
    database = Database(tmp_path / "p.sqlite")
    headers = {"authorization": f"Bearer {new_token(database, 'eva', 1000, 1000)}"}
    asked = {"model": "m", "prompt": "x", "max_tokens": 900} | more
    with (
        live(chat_app(engine, database)) as url,
        httpx.Client(headers=headers, timeout=0.3 if "gone" in name else 10) as client,
    ):

        def ask() -> int:
            """The status; of a reply that breaks off, that it began."""
            try:
                with client.stream("POST", f"{url}/v1/completions", json=asked) as answer:
                    if "middle" in name:
                        next(answer.iter_lines())
                    elif answer.status_code == 200:
                        answer.read()
                    return answer.status_code
            except httpx.TimeoutException:
                return 200

        assert ask() in (200, 500)
        deadline = time.monotonic() + 10
        while ask() == 429:  # until the server has seen that the client left
            assert time.monotonic() < deadline, "what was taken is not given back"
            time.sleep(0.02)


def test_one_persons_use_does_not_eat_anothers(tmp_path: Path) -> None:
    database = Database(tmp_path / "p.sqlite")
    eva, adam = ({"authorization": f"Bearer {new_token(database, name, 2, 100)}"} for name in ("eva", "adam"))
    with live(chat_app(Parrot("m", "", "x"), database)) as url:

        def ask(headers: dict[str, str], most: int) -> int:
            return httpx.post(
                f"{url}/v1/completions", json={"model": "m", "prompt": "x", "max_tokens": most}, headers=headers
            ).status_code

        assert [ask(eva, 1), ask(eva, 1), ask(eva, 1)] == [200, 200, 429]
        assert [ask(adam, 1), ask(adam, 1), ask(adam, 1)] == [200, 200, 429]
        assert ask(eva, 1) == 429
        new = {"authorization": f"Bearer {new_token(database, 'ada', 2, 100)}"}
        assert [ask(new, 98), ask(new, 97)] == [429, 200]


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/m"])
def test_each_token_opens_for_its_own_time_only(path: str, tmp_path: Path) -> None:
    database = Database(tmp_path / "p.sqlite")
    eva, adam = ({"authorization": f"Bearer {new_token(database, name)}"} for name in ("eva", "adam"))
    with live(chat_app(Parrot("m", "", "x"), database)) as url:
        database.revoke("eva", "now")
        assert [httpx.get(url + path, headers=headers).status_code for headers in (eva, adam)] == [401, 200]


class Short(Parrot):
    """Ends without saying that it has ended."""

    async def stream(self, ask: GenerationRequest):
        yield Text("one ")


@pytest.mark.parametrize("stream", [False, True])
def test_a_reply_without_an_end_broke_off(stream: bool, tmp_path: Path) -> None:
    with live(chat_app(Short("m", "", ""), Database(tmp_path / "p.sqlite"))) as url:
        answer = httpx.post(f"{url}/v1/completions", json={"model": "m", "prompt": "x", "stream": stream})
    assert answer.status_code == (200 if stream else 502)
    assert "the reply broke off." in answer.text
    assert "[DONE]" not in answer.text
