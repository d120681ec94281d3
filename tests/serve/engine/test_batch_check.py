"""A model that says something else in a batch than alone is found before it serves."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen3Config, Qwen3ForCausalLM

from privllm.core.errors import UserError
from privllm.serve.engine.batch_check import require_batching
from privllm.serve.engine.prompting import ExportedFormat, open_folder
from privllm.serve.engine.scheduler import Scheduler

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


def test_a_model_that_looks_at_what_stands_behind_a_prompt_is_refused(
    exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, prompt_format = open_folder(exported())
    plain = Scheduler.read_whole

    def read(self: Scheduler, prompts: list[list[int]]) -> object:
        longest = max(map(len, prompts))
        return plain(self, [[*ids, *[0] * (longest - len(ids))] for ids in prompts])

    monkeypatch.setattr(Scheduler, "read_whole", read)
    with pytest.raises(UserError, match="in a batch this model gives other results"):
        require_batching(model, prompt_format)
