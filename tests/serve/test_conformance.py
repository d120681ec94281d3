"""What the official `openai` client does with a server of ours, synchronously and not: it is never told that it asked wrongly."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from openai import AsyncOpenAI, BadRequestError, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from privllm.serve.app import chat_app
from privllm.serve.database import Database
from privllm.serve.engine.local import LocalEngine
from tests.serve.fakes import Parrot
from tests.serve.live import live

NAME = "handbook-1"
HELLO: ChatCompletionMessageParam = {"role": "user", "content": "the page"}


@pytest.fixture(scope="module")
def base(exported: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of a model that was tuned to answer."""
    database = Database(tmp_path_factory.mktemp("conformance") / "people.sqlite")
    with live(chat_app(LocalEngine.open(exported(tuned=True)), database)) as url:
        yield f"{url}/v1"


@pytest.fixture(scope="module")
def client(base: str) -> OpenAI:
    return OpenAI(base_url=base, api_key="none", max_retries=0)


def test_a_reply_is_sent_back_as_it_came(client: OpenAI) -> None:
    first = client.chat.completions.create(model=NAME, messages=[HELLO], max_tokens=4, temperature=0)
    reply = first.choices[0].message
    for back in (reply, reply.model_dump(), reply.model_dump(exclude_unset=True), reply.to_dict()):
        messages = [HELLO, back, {"role": "user", "content": "and?"}]
        second = client.chat.completions.create(model=NAME, messages=messages, max_tokens=4, temperature=0)  # type: ignore[call-overload]
        assert second.choices[0].message.role == "assistant"
        assert second.usage.prompt_tokens > first.usage.prompt_tokens  # type: ignore[union-attr]


def test_parse_and_stream_helpers_take_our_replies(tmp_path: Path) -> None:
    with live(chat_app(Parrot(NAME, "", "one two"), Database(tmp_path / "p.sqlite"))) as url:
        client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        parsed = client.chat.completions.parse(model=NAME, messages=[HELLO])
        with client.chat.completions.stream(model=NAME, messages=[HELLO]) as stream:
            streamed = stream.get_final_completion()
        for made in (parsed, streamed):
            assert (made.choices[0].message.content, made.choices[0].finish_reason) == ("one two ", "stop")
            again = [HELLO, made.choices[0].message, HELLO]
            client.chat.completions.parse(model=NAME, messages=again)  # type: ignore[arg-type]


def test_a_conversation_goes_on_for_as_long_as_one_likes(client: OpenAI) -> None:
    messages, left_out = [], []
    for turn in range(12):
        messages.append({"role": "user", "content": f"the page {turn} keeps every row"})
        made = client.chat.completions.create(model=NAME, messages=messages, max_tokens=12, temperature=0)  # type: ignore[call-overload]
        messages.append(made.choices[0].message)
        left_out.append(((made.model_extra or {}).get("privllm") or {"left_out": 0})["left_out"])
        assert made.usage.total_tokens <= 96
    assert left_out == sorted(left_out)
    assert (left_out[0], left_out[-1] % 2) == (0, 0)
    assert left_out[-1] > 10
    *_, last = client.chat.completions.create(
        model=NAME, messages=messages[:-1], max_tokens=12, temperature=0, stream=True
    )  # type: ignore[call-overload]
    assert last.model_extra["privllm"] == {"left_out": left_out[-1]}  # type: ignore[index]


def test_a_message_that_never_fits_has_openais_code(client: OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(BadRequestError) as refused:
            client.chat.completions.create(
                model=NAME, messages=[{"role": "user", "content": "row " * 500}], stream=stream
            )
        assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "messages")


def test_a_reply_ends_with_the_context(client: OpenAI) -> None:
    made = client.chat.completions.create(model=NAME, messages=[HELLO], max_tokens=4096, temperature=0)
    assert made.usage.total_tokens == 96  # type: ignore[union-attr]
    assert made.choices[0].finish_reason == "length"


def test_all_that_a_client_may_add_is_taken(client: OpenAI) -> None:
    plain = client.chat.completions.create(model=NAME, messages=[HELLO], max_tokens=4, temperature=0)
    full = client.chat.completions.create(
        model=NAME, messages=[HELLO | {"name": "eva"}], max_completion_tokens=4, temperature=0, user="eva", store=True,  # type: ignore[list-item, operator]
        metadata={"a": "b"}, reasoning_effort="low", verbosity="low", service_tier="auto", parallel_tool_calls=False,
        prompt_cache_key="k", safety_identifier="s", prediction={"type": "content", "content": "x"}, seed=None, stop=None,
        tools=[{"type": "function", "function": {"name": "f"}}], tool_choice="none", logit_bias={}, logprobs=False, n=1,
    )  # fmt: skip
    assert full.choices == plain.choices


def test_the_asynchronous_client(base: str) -> None:
    async def main() -> None:
        async with AsyncOpenAI(base_url=base, api_key="none", max_retries=0) as client:
            whole = await client.chat.completions.create(model=NAME, messages=[HELLO], max_tokens=6, temperature=0)
            pieces = []
            chunks = await client.chat.completions.create(
                model=NAME, messages=[HELLO], max_tokens=6, temperature=0, stream=True
            )
            async for chunk in chunks:
                pieces.append(chunk.choices[0].delta.content or "")
            assert "".join(pieces) == whole.choices[0].message.content
            assert [model.id async for model in client.models.list()] == [NAME]

    asyncio.run(main())
