"""The oracle is `models.generate`: whoever is in the batch, each reply is what it would be alone."""

import dataclasses
import random
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest
import torch

from privllm.core.errors import UserError
from privllm.feedback.records import Message
from privllm.models.generate import SamplingConfig, generate
from privllm.serve.engine import scheduler as scheduler_module
from privllm.serve.engine.base import Done, GenerationRequest, SamplingSettings, Text
from privllm.serve.engine.detokenizer import Detokenizer
from privllm.serve.engine.prompting import open_folder
from privllm.serve.engine.scheduler import Echo, Job, Scheduler
from privllm.tokens.special_ids import special_ids
from tests.serve.fakes import completion

WORDS = "the store keeps every row in a page of its own and 🙂 naïve façades".split()


opened = lru_cache(open_folder)


def oracle(folder: Path, ids: list[int], settings: SamplingSettings) -> tuple[str, int]:
    """The text, and how many tokens it took."""
    model, prompt_format = opened(folder)
    cfg = SamplingConfig(settings.max_tokens, settings.temperature, 0, settings.top_p, settings.seed)
    made, detokenizer = generate(model, ids, cfg, special_ids(folder)), Detokenizer(prompt_format.decode)
    return "".join(map(detokenizer.add, made)) + detokenizer.flush(), len(made)


def talk(
    folder: Path,
    requests: list[tuple[int, GenerationRequest]],
    most: int = 4,
    heard: dict[int, list[Text]] | None = None,
) -> list[tuple[str, Done]]:
    """Each ask joins at its step; the replies, in the order of asks, and in `heard` their pieces."""
    model, prompt_format = open_folder(folder)
    scheduler, texts, ends = Scheduler(model, prompt_format, most), [""] * len(requests), [None] * len(requests)

    def listener(i: int) -> Callable:
        def hear(event: Text | Done) -> None:
            if isinstance(event, Text):
                assert ends[i] is None
                texts[i] += event.text
                if heard is not None:
                    heard.setdefault(i, []).append(event)
            else:
                ends[i] = event  # type: ignore[call-overload]

        return hear

    step = 0
    while step <= max(at for at, _ in requests) or not scheduler.idle:
        for i, (at, ask) in enumerate(requests):
            if at == step:
                scheduler.add(Job(prompt_format.encode(ask), ask.settings, listener(i)))
        scheduler.step()
        assert len(scheduler.running) == len(scheduler.kv_cache.lengths) <= most
        step += 1
    assert scheduler.kv_cache.layers == []
    return list(zip(texts, ends, strict=True))  # type: ignore[arg-type]


def make_requests(count: int, seed: int, **changes: object) -> list[tuple[int, GenerationRequest]]:
    rng = random.Random(seed)
    made = []
    for i in range(count):
        text = " ".join(rng.choices(WORDS, k=rng.randint(0, 12)))
        settings = SamplingSettings(max_tokens=rng.randint(1, 40), temperature=0.0, seed=i)
        made.append((rng.randint(0, 30), GenerationRequest(None, text, dataclasses.replace(settings, **changes))))  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_everyone_hears_what_they_would_alone(exported: Callable[..., Path], temperature: float) -> None:
    folder, requests = exported(), make_requests(12, 3, temperature=temperature)
    prompt_format = open_folder(folder)[1]
    for (_, ask), (text, done) in zip(requests, talk(folder, requests), strict=True):
        ids = prompt_format.encode(ask)
        assert (text, done.completion_tokens) == oracle(folder, ids, ask.settings)
        assert done.prompt_tokens == len(ids)
        assert done.reason == ("length" if done.completion_tokens == ask.settings.max_tokens else "stop")


@pytest.mark.slow
def test_whatever_is_asked_for_is_heard_alone_and_in_a_batch(exported: Callable[..., Path]) -> None:
    """Penalties look at a sequence's own tokens only, and log-probabilities at its own row."""
    folder, requests = exported(), make_requests(10, 6, temperature=0.9, logprobs=3)
    ways = [
        {"top_k": 3},
        {"min_p": 0.2},
        {"repetition_penalty": 1.5},
        {"presence_penalty": 2.0},
        {"frequency_penalty": 1.0},
    ]
    asked = []
    for number, (at, ask) in enumerate(requests):
        settings = dataclasses.replace(ask.settings, **ways[number % len(ways)])  # type: ignore[arg-type]
        asked.append((at, dataclasses.replace(ask, settings=settings)))
    heard: dict[int, list[Text]] = {}
    together = talk(folder, asked, heard=heard)
    for number, (_, ask) in enumerate(asked):
        heard_alone: dict[int, list[Text]] = {}
        assert talk(folder, [(0, ask)], heard=heard_alone) == [together[number]]
        one, other = ([token for text in texts for token in text.tokens] for texts in (heard[number], heard_alone[0]))
        assert len(one) == together[number][1].completion_tokens
        for first, second in zip(one, other, strict=True):
            assert first.text == second.text
            assert first.logprob == pytest.approx(second.logprob, abs=1e-4)
            assert [text for text, _ in first.top] == [text for text, _ in second.top]


@pytest.mark.parametrize("chunk", [512, 7])
def test_log_probabilities_are_those_of_the_whole_text_read_at_once(
    chunk: int, exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_module, "PROMPT_CHUNK", chunk)
    model, prompt_format = open_folder(exported())
    ids = prompt_format.encode(completion("the page keeps the rows of the store"))
    settings, events = SamplingSettings(12, 0.0, logprobs=2), []
    job = Job(list(ids), settings, events.append, echo=Echo("the page keeps the rows of the store", 1))
    scheduler = Scheduler(model, prompt_format, 1)
    scheduler.add(job)
    while not scheduler.idle:
        scheduler.step()
    prompt, *pieces, done = events
    assert (prompt.text, len(prompt.tokens)) == ("the page keeps the rows of the store", len(ids) - 1)
    assert done.completion_tokens == 12
    with torch.inference_mode():
        expected = model(torch.tensor([job.ids])).logits[0].log_softmax(1)
    tokens = [*prompt.tokens, *(token for piece in pieces for token in piece.tokens)]
    assert len(tokens) == len(job.ids) - 1
    for position, token in enumerate(tokens):
        assert token.text == prompt_format.decode([job.ids[position + 1]])
        assert token.logprob == pytest.approx(float(expected[position, job.ids[position + 1]]), abs=1e-3)
        assert token.top[0][1] == pytest.approx(float(expected[position].max()), abs=1e-3)


def test_an_echo_alone_says_no_token(exported: Callable[..., Path]) -> None:
    model, prompt_format = open_folder(exported())
    scheduler, events = Scheduler(model, prompt_format, 1), []
    scheduler.add(Job(prompt_format.encode(completion("the")), SamplingSettings(0), events.append, echo=Echo("the", 1)))
    scheduler.step()
    assert events == [Text("the"), Done("length", len(prompt_format.encode(completion("the"))), 0)]
    assert scheduler.idle


def test_past_the_context_the_last_half_is_read_anew(exported: Callable[..., Path]) -> None:
    folder, requests = exported(), make_requests(3, 5, max_tokens=110)
    prompt_format = open_folder(folder)[1]
    for (_, ask), (text, _) in zip(requests, talk(folder, requests), strict=True):
        assert text == oracle(folder, prompt_format.encode(ask), ask.settings)[0]


def test_a_long_prompt_is_read_in_parts(exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_module, "PROMPT_CHUNK", 7)
    folder, requests = exported(), make_requests(6, 8)
    prompt_format = open_folder(folder)[1]
    for (_, ask), (text, _) in zip(requests, talk(folder, requests), strict=True):
        assert text == oracle(folder, prompt_format.encode(ask), ask.settings)[0]


def test_the_end_token_and_stop_texts_end_a_reply(exported: Callable[..., Path]) -> None:
    folder = exported(tuned=True)
    prompt_format = open_folder(folder)[1]
    asked = [
        GenerationRequest((Message("user", f"{word} {i}"),), "", SamplingSettings(60, 1.3, 1.0, i))
        for i, word in enumerate(WORDS)
    ]
    whole = talk(folder, [(0, ask) for ask in asked])
    assert {done.reason for _, done in whole} == {"stop", "length"}  # 326 tokens, two of which end a reply
    longest, ask = max(
        ((text, ask) for (text, _), ask in zip(whole, asked, strict=True)), key=lambda pair: len(pair[0])
    )
    stop = longest[7:10]
    stopped = GenerationRequest(ask.messages, "", dataclasses.replace(ask.settings, stop=("never said", stop)))
    ((text, done),) = talk(folder, [(0, stopped)])
    assert text == longest[: longest.index(stop)]
    assert done.reason == "stop"
    assert done.prompt_tokens == len(prompt_format.encode(ask))


def test_who_leaves_is_dropped_at_the_next_step(exported: Callable[..., Path]) -> None:
    model, prompt_format = open_folder(exported())
    scheduler = Scheduler(model, prompt_format, 2)
    jobs = [
        Job(prompt_format.encode(completion("the")), SamplingSettings(max_tokens=50), lambda _: None) for _ in range(4)
    ]
    for job in jobs:
        scheduler.add(job)
    scheduler.step()
    assert (len(scheduler.running), len(scheduler.waiting)) == (2, 2)
    jobs[0].cancelled = jobs[3].cancelled = True
    scheduler.step()
    assert (scheduler.running, len(scheduler.waiting)) == ([jobs[1], jobs[2]], 0)
    made = jobs[0].completion_tokens
    scheduler.step()
    assert jobs[0].completion_tokens == made


def test_a_model_whose_memory_is_no_list_of_keys_is_refused(exported: Callable[..., Path]) -> None:
    model, _ = open_folder(exported())
    model.config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(UserError, match=r"^layers of linear_attention cannot be batched"):
        scheduler_module._attention_windows(model)


def test_forgetting_everybody_tells_who_was_there(exported: Callable[..., Path]) -> None:
    model, prompt_format = open_folder(exported())
    scheduler = Scheduler(model, prompt_format, 1)
    assert scheduler.idle
    jobs = [
        Job(prompt_format.encode(completion("the")), SamplingSettings(max_tokens=50), lambda _: None) for _ in range(3)
    ]
    for job in jobs:
        scheduler.add(job)
    assert not scheduler.idle
    scheduler.step()
    assert scheduler.clear() == jobs
    assert scheduler.idle
    assert scheduler.kv_cache.lengths == []


def test_a_long_prompt_holds_up_nobody_who_speaks(
    exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is read, seven tokens a step, everybody else gets a token a step."""
    monkeypatch.setattr(scheduler_module, "PROMPT_CHUNK", 7)
    model, prompt_format = open_folder(exported())
    scheduler = Scheduler(model, prompt_format, 2)
    first = Job(
        prompt_format.encode(completion("a")),
        SamplingSettings(max_tokens=60, temperature=0.0),
        lambda _: None,
    )
    scheduler.add(first)
    scheduler.step()
    long = Job(prompt_format.encode(completion("the page " * 8)), SamplingSettings(max_tokens=2), lambda _: None)
    scheduler.add(long)
    parts = -(-len(long.ids) // 7)
    assert parts > 2
    for step in range(parts):
        assert (long.completion_tokens, first.completion_tokens) == (0, 1 + step)
        assert len(scheduler.running) == 1
        scheduler.step()
    assert (long.completion_tokens, first.completion_tokens, len(scheduler.running)) == (1, 1 + parts, 2)


def test_many_short_prompts_are_read_together(exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the last of many callers would wait for as many passes of the model as there are callers."""
    folder = exported()
    asked = [completion(" ".join(WORDS[: 1 + number % 9]), max_tokens=12, temperature=0.0) for number in range(40)]
    model, prompt_format = open_folder(folder)
    scheduler, texts, passes = Scheduler(model, prompt_format, 64), [""] * len(asked), []
    model.register_forward_hook(lambda *_: passes.append(None))
    for number, ask in enumerate(asked):

        def hear(event: Text | Done, number: int = number) -> None:
            texts[number] += event.text if isinstance(event, Text) else ""

        scheduler.add(Job(prompt_format.encode(ask), ask.settings, hear))
    tokens = sum(len(prompt_format.encode(ask)) for ask in asked)
    assert tokens < 3 * scheduler_module.PROMPT_CHUNK
    while scheduler.waiting:
        scheduler.step()
    assert len(passes) <= 12  # at most a few to read, and as many to write meanwhile
    while not scheduler.idle:
        scheduler.step()
    assert texts == [oracle(folder, prompt_format.encode(ask), ask.settings)[0] for ask in asked]


@pytest.mark.parametrize("most", [1, 3, 64])
@pytest.mark.parametrize("chunk", [1, 9, 40])
def test_however_prompts_are_read_the_replies_are_the_same(
    most: int, chunk: int, exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_module, "PROMPT_CHUNK", chunk)
    folder = exported()
    asked = [completion(" ".join(WORDS[: 1 + 4 * number % 11]), max_tokens=6, temperature=0.9) for number in range(9)]
    _, prompt_format = opened(folder)
    alone = [oracle(folder, prompt_format.encode(ask), ask.settings)[0] for ask in asked]
    assert [text for text, _ in talk(folder, [(0, ask) for ask in asked], most)] == alone
