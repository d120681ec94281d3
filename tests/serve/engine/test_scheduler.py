"""The oracle is `models.generate`: whoever is in the batch, each reply is what it would be alone."""

import dataclasses
import random
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen3Config, Qwen3ForCausalLM

from privllm.core.errors import UserError
from privllm.feedback.records import Message
from privllm.models.generate import SamplingConfig, generate
from privllm.serve.engine import scheduler as scheduler_module
from privllm.serve.engine.base import Done, GenerationRequest, SamplingSettings, Text
from privllm.serve.engine.detokenizer import Detokenizer
from privllm.serve.engine.prompting import ExportedFormat, open_folder
from privllm.serve.engine.scheduler import Job, Scheduler, require_batching
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


def talk(folder: Path, requests: list[tuple[int, GenerationRequest]], most: int = 4) -> list[tuple[str, Done]]:
    """Each ask joins at its step; the replies, in the order of asks."""
    model, prompt_format = open_folder(folder)
    scheduler, texts, ends = Scheduler(model, prompt_format, most), [""] * len(requests), [None] * len(requests)

    def listener(i: int) -> Callable:
        def hear(event: Text | Done) -> None:
            if isinstance(event, Text):
                assert ends[i] is None
                texts[i] += event.text
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


SMALL = {
    "vocab_size": 200,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "head_dim": 8,
}
SMALL |= {"num_key_value_heads": 2, "max_position_embeddings": 128}
FAMILIES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SMALL)),
    "window": lambda: MistralForCausalLM(MistralConfig(**SMALL, sliding_window=4)),
    "mixed": lambda: Qwen3ForCausalLM(
        Qwen3Config(**SMALL, use_sliding_window=True, sliding_window=4, max_window_layers=1)
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_other_families_say_the_same_in_a_batch(family: str, exported: Callable[..., Path]) -> None:
    torch.manual_seed(0)
    require_batching(FAMILIES[family]().eval(), open_folder(exported())[1])


def test_a_model_that_disagrees_with_itself_is_refused(
    exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, prompt_format = open_folder(exported())
    assert isinstance(prompt_format, ExportedFormat)
    monkeypatch.setattr(
        Scheduler, "_mask", lambda self, positions, keys: (keys >= 0)[:, None, None].expand(len(positions), 1, 1, -1)
    )
    with pytest.raises(UserError, match="in a batch this model gives other results"):
        require_batching(model, prompt_format)


def test_a_model_whose_memory_is_no_list_of_keys_is_refused(exported: Callable[..., Path]) -> None:
    model, _ = open_folder(exported())
    model.config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(UserError, match=r"^layers of linear_attention cannot be batched"):
        scheduler_module._attention_windows(model)


def test_a_model_that_cannot_take_masks_is_refused_and_not_a_crash(
    exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, prompt_format = open_folder(exported())

    def mask(self: Scheduler, positions: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("no masks")

    monkeypatch.setattr(Scheduler, "_mask", mask)
    with pytest.raises(UserError, match=r"cannot be batched here \(no masks\)"):
        require_batching(model, prompt_format)


@pytest.mark.parametrize(("off", "refused"), [(0.01, False), (0.05, True), (float("nan"), True)])
def test_how_far_a_batch_may_be_off(
    off: float, refused: bool, exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most two hundredths of the spread of what is read alone; what is no number is off."""
    model, prompt_format = open_folder(exported())
    ask = type(model).forward

    def forward(self: torch.nn.Module, *args: object, **given: object) -> object:
        output = ask(self, *args, **given)
        if given.get("attention_mask") is not None:
            output.logits[:, -1, 0] += off * output.logits[:, -1].std(1)
        return output

    monkeypatch.setattr(type(model), "forward", forward)
    if refused:
        with pytest.raises(UserError, match="in a batch this model gives other results"):
            require_batching(model, prompt_format)
    else:
        require_batching(model, prompt_format)


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
