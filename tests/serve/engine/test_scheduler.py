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
from privllm.serve.engine import scheduler as batch_module
from privllm.serve.engine.base import Ask, Done, Settings, Text
from privllm.serve.engine.detokenizer import Spoken
from privllm.serve.engine.prompting import Own, open_folder
from privllm.serve.engine.scheduler import Batch, Job, check

WORDS = "the store keeps every row in a page of its own and 🙂 naïve façades".split()


opened = lru_cache(open_folder)


def oracle(folder: Path, ids: list[int], settings: Settings) -> tuple[str, int]:
    """The text, and how many tokens it took."""
    model, voice = opened(folder)
    cfg = SamplingConfig(settings.max_tokens, settings.temperature, 0, settings.top_p, settings.seed)
    made, spoken = generate(model, ids, cfg), Spoken(voice.decode)
    return "".join(map(spoken.add, made)) + spoken.rest(), len(made)


def talk(folder: Path, asks: list[tuple[int, Ask]], most: int = 4) -> list[tuple[str, Done]]:
    """Each ask joins at its step; the replies, in the order of asks."""
    model, voice = open_folder(folder)
    batch, said, ends = Batch(model, voice, most), [""] * len(asks), [None] * len(asks)

    def listener(i: int) -> Callable:
        def hear(event: Text | Done) -> None:
            if isinstance(event, Text):
                assert ends[i] is None
                said[i] += event.text
            else:
                ends[i] = event  # type: ignore[call-overload]

        return hear

    step = 0
    while step <= max(at for at, _ in asks) or not batch.idle:
        for i, (at, ask) in enumerate(asks):
            if at == step:
                batch.add(Job(voice.ids(ask), ask.settings, listener(i)))
        batch.step()
        assert len(batch.rows) == len(batch.slots.lengths) <= most
        step += 1
    assert batch.slots.layers == []
    return list(zip(said, ends, strict=True))  # type: ignore[arg-type]


def asks(count: int, seed: int, **changes: object) -> list[tuple[int, Ask]]:
    rng = random.Random(seed)
    made = []
    for i in range(count):
        text = " ".join(rng.choices(WORDS, k=rng.randint(0, 12)))
        settings = Settings(max_tokens=rng.randint(1, 40), temperature=0.0, seed=i)
        made.append((rng.randint(0, 30), Ask(None, text, dataclasses.replace(settings, **changes))))  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_everyone_hears_what_they_would_alone(exported: Callable[..., Path], temperature: float) -> None:
    folder, wanted = exported(), asks(12, 3, temperature=temperature)
    voice = open_folder(folder)[1]
    for (_, ask), (text, done) in zip(wanted, talk(folder, wanted), strict=True):
        ids = voice.ids(ask)
        assert (text, done.completion_tokens) == oracle(folder, ids, ask.settings)
        assert done.prompt_tokens == len(ids)
        assert done.reason == ("length" if done.completion_tokens == ask.settings.max_tokens else "stop")


def test_past_the_context_the_last_half_is_read_anew(exported: Callable[..., Path]) -> None:
    folder, wanted = exported(), asks(3, 5, max_tokens=110)
    voice = open_folder(folder)[1]
    for (_, ask), (text, _) in zip(wanted, talk(folder, wanted), strict=True):
        assert text == oracle(folder, voice.ids(ask), ask.settings)[0]


def test_a_long_prompt_is_read_in_parts(exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "PART", 7)
    folder, wanted = exported(), asks(6, 8)
    voice = open_folder(folder)[1]
    for (_, ask), (text, _) in zip(wanted, talk(folder, wanted), strict=True):
        assert text == oracle(folder, voice.ids(ask), ask.settings)[0]


def test_the_end_token_and_stop_texts_end_a_reply(exported: Callable[..., Path]) -> None:
    folder = exported(tuned=True)
    voice = open_folder(folder)[1]
    asked = [Ask((Message("user", f"{word} {i}"),), "", Settings(60, 1.3, 1.0, i)) for i, word in enumerate(WORDS)]
    whole = talk(folder, [(0, ask) for ask in asked])
    assert {done.reason for _, done in whole} == {"stop", "length"}  # 326 tokens, two of which end a reply
    longest, ask = max(((text, ask) for (text, _), ask in zip(whole, asked, strict=True)), key=lambda pair: len(pair[0]))
    stop = longest[7:10]
    stopped = Ask(ask.messages, "", dataclasses.replace(ask.settings, stop=("never said", stop)))
    ((text, done),) = talk(folder, [(0, stopped)])
    assert text == longest[: longest.index(stop)]
    assert done.reason == "stop"
    assert done.prompt_tokens == len(voice.ids(ask))


def test_who_leaves_is_dropped_at_the_next_step(exported: Callable[..., Path]) -> None:
    model, voice = open_folder(exported())
    batch = Batch(model, voice, 2)
    jobs = [Job(voice.ids(Ask(None, "the", Settings())), Settings(max_tokens=50), lambda _: None) for _ in range(4)]
    for job in jobs:
        batch.add(job)
    batch.step()
    assert (len(batch.rows), len(batch.waiting)) == (2, 2)
    jobs[0].cancelled = jobs[3].cancelled = True
    batch.step()
    assert (batch.rows, len(batch.waiting)) == ([jobs[1], jobs[2]], 0)
    made = jobs[0].made
    batch.step()
    assert jobs[0].made == made


SMALL = {"vocab_size": 200, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8}
SMALL |= {"num_key_value_heads": 2, "max_position_embeddings": 128}
FAMILIES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SMALL)),
    "window": lambda: MistralForCausalLM(MistralConfig(**SMALL, sliding_window=4)),
    "mixed": lambda: Qwen3ForCausalLM(Qwen3Config(**SMALL, use_sliding_window=True, sliding_window=4, max_window_layers=1)),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_other_families_say_the_same_in_a_batch(family: str, exported: Callable[..., Path]) -> None:
    torch.manual_seed(0)
    check(FAMILIES[family]().eval(), open_folder(exported())[1])


def test_a_model_that_disagrees_with_itself_is_refused(exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model, voice = open_folder(exported())
    assert isinstance(voice, Own)
    monkeypatch.setattr(Batch, "_mask", lambda self, positions, keys: (keys >= 0)[:, None, None].expand(len(positions), 1, 1, -1))
    with pytest.raises(UserError, match="in a batch this model says something else"):
        check(model, voice)


def test_a_model_whose_memory_is_no_list_of_keys_is_refused(exported: Callable[..., Path]) -> None:
    model, _ = open_folder(exported())
    model.config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(UserError, match=r"^layers of linear_attention cannot be batched"):
        batch_module._mask_kinds(model)


def test_a_model_that_cannot_take_masks_is_refused_and_not_a_crash(exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model, voice = open_folder(exported())

    def mask(self: Batch, positions: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("no masks")

    monkeypatch.setattr(Batch, "_mask", mask)
    with pytest.raises(UserError, match=r"cannot be batched here \(no masks\)"):
        check(model, voice)


@pytest.mark.parametrize(("off", "refused"), [(0.01, False), (0.05, True), (float("nan"), True)])
def test_how_far_a_batch_may_be_off(off: float, refused: bool, exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """At most two hundredths of the spread of what is read alone; what is no number is off."""
    model, voice = open_folder(exported())
    ask = type(model).forward

    def forward(self: torch.nn.Module, *args: object, **given: object) -> object:
        found = ask(self, *args, **given)
        if given.get("attention_mask") is not None:
            found.logits[:, -1, 0] += off * found.logits[:, -1].std(1)
        return found

    monkeypatch.setattr(type(model), "forward", forward)
    if refused:
        with pytest.raises(UserError, match="in a batch this model says something else"):
            check(model, voice)
    else:
        check(model, voice)


def test_forgetting_everybody_tells_who_was_there(exported: Callable[..., Path]) -> None:
    model, voice = open_folder(exported())
    batch = Batch(model, voice, 1)
    assert batch.idle
    jobs = [Job(voice.ids(Ask(None, "the", Settings())), Settings(max_tokens=50), lambda _: None) for _ in range(3)]
    for job in jobs:
        batch.add(job)
    assert not batch.idle
    batch.step()
    assert batch.clear() == jobs
    assert batch.idle
    assert batch.slots.lengths == []


def test_a_long_prompt_holds_up_nobody_who_speaks(exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is read, seven tokens a step, everybody else gets a token a step."""
    monkeypatch.setattr(batch_module, "PART", 7)
    model, voice = open_folder(exported())
    batch = Batch(model, voice, 2)
    first = Job(voice.ids(Ask(None, "a", Settings())), Settings(max_tokens=60, temperature=0.0), lambda _: None)
    batch.add(first)
    batch.step()
    long = Job(voice.ids(Ask(None, "the page " * 8, Settings())), Settings(max_tokens=2), lambda _: None)
    batch.add(long)
    parts = -(-len(long.ids) // 7)
    assert parts > 2
    for step in range(parts):
        assert (long.made, first.made) == (0, 1 + step)
        assert len(batch.rows) == 1
        batch.step()
    assert (long.made, first.made, len(batch.rows)) == (1, 1 + parts, 2)
