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
from privllm.serve.engine.prompting import open_folder
from tests.serve.fakes import Parrot, completion
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


def test_several_choices_at_once(client: OpenAI) -> None:
    asked = {"model": NAME, "messages": [HELLO], "max_tokens": 8, "temperature": 1, "seed": 3}
    made = client.chat.completions.create(n=3, **asked)  # type: ignore[call-overload]
    texts = [choice.message.content for choice in made.choices]
    assert [choice.index for choice in made.choices] == [0, 1, 2]
    assert len(set(texts)) == 3
    for number, text in enumerate(texts):
        one = client.chat.completions.create(**asked | {"seed": 3 + number})  # type: ignore[call-overload]
        assert one.choices[0].message.content == text
        assert one.usage.prompt_tokens == made.usage.prompt_tokens
    assert made.usage.completion_tokens <= 3 * 8
    streamed = ["", "", ""]
    for chunk in client.chat.completions.create(n=3, stream=True, stream_options={"include_usage": True}, **asked):  # type: ignore[call-overload]
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts
    assert chunk.usage == made.usage


def test_lists_of_prompts_and_tokens(client: OpenAI, exported: Callable[..., Path]) -> None:
    texts = ["the page", "its own row"]
    asked = {"model": NAME, "max_tokens": 6, "temperature": 0}
    together = client.completions.create(prompt=texts, **asked)  # type: ignore[call-overload]
    alone = [client.completions.create(prompt=text, **asked) for text in texts]  # type: ignore[call-overload]
    assert [choice.text for choice in together.choices] == [made.choices[0].text for made in alone]
    assert together.usage.total_tokens == sum(made.usage.total_tokens for made in alone)
    ids = [open_folder(exported(tuned=True))[1].encode(completion(text)) for text in texts]
    by_ids = client.completions.create(prompt=ids, **asked)  # type: ignore[call-overload]
    assert [choice.text for choice in by_ids.choices] == [choice.text for choice in together.choices]
    with pytest.raises(BadRequestError, match="a token of this model is one of 0 to"):
        client.completions.create(prompt=[10**6], **asked)  # type: ignore[call-overload]


def test_log_probabilities_of_a_reply_and_of_a_prompt(client: OpenAI) -> None:
    chat = client.chat.completions.create(
        model=NAME, messages=[HELLO], max_tokens=5, temperature=0, logprobs=True, top_logprobs=2
    )
    entries = chat.choices[0].logprobs.content  # type: ignore[union-attr]
    assert len(entries) == 5  # type: ignore[arg-type]
    for entry in entries or ():
        assert entry.logprob == entry.top_logprobs[0].logprob <= 0  # of the likeliest
        assert len(entry.top_logprobs) == 2
    asked = {"model": NAME, "prompt": "the page", "max_tokens": 3, "temperature": 0}
    plain = client.completions.create(**asked)  # type: ignore[call-overload]
    echoed = client.completions.create(**asked, echo=True, logprobs=1)  # type: ignore[call-overload]
    assert echoed.choices[0].text == "the page" + plain.choices[0].text
    told = echoed.choices[0].logprobs
    assert "".join(told.tokens).startswith("the page")
    assert told.text_offset == [len("".join(told.tokens[:number])) for number in range(len(told.tokens))]
    assert len(told.token_logprobs) == len(told.top_logprobs) == len(told.tokens)
    chunks = list(client.completions.create(**asked, echo=True, logprobs=1, stream=True))  # type: ignore[call-overload]
    streamed = [
        token for chunk in chunks for token in (chunk.choices[0].logprobs.tokens if chunk.choices[0].logprobs else [])
    ]
    assert streamed == told.tokens
    only = client.completions.create(**asked | {"max_tokens": 0}, echo=True, logprobs=1)  # type: ignore[call-overload]
    assert only.choices[0].logprobs.tokens == told.tokens[:-3]
    assert only.usage.completion_tokens == 0


def test_other_servers_ways_to_draw(client: OpenAI) -> None:
    asked = {"model": NAME, "messages": [HELLO], "max_tokens": 12, "temperature": 1, "seed": 1}
    greedy = client.chat.completions.create(**asked | {"temperature": 0})  # type: ignore[call-overload]
    for more in ({"top_k": 1}, {"min_p": 1.0}):
        made = client.chat.completions.create(**asked, extra_body=more)  # type: ignore[call-overload]
        assert made.choices[0].message.content == greedy.choices[0].message.content
    penalised = {"presence_penalty": 2, "frequency_penalty": 2, "extra_body": {"repetition_penalty": 5.0}}
    made = client.chat.completions.create(**asked | {"temperature": 0} | penalised)  # type: ignore[call-overload]
    assert made.choices[0].message.content != greedy.choices[0].message.content


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
