"""An adapter's folder is loaded by peft, and gives what the merged model gives."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from privllm.train.adapter_config import AdapterConfig
from privllm.train.adapter_folder import CONFIG, WEIGHTS, take_adapter, write_adapter
from privllm.train.lora import adapt, merge
from tests.foreign import random_model

IDS = torch.tensor([[3, 17, 5, 330, 331, 8, 2]])


def trained(kind: str, tokens: tuple[int, ...] = ()) -> Any:
    """An adapted model whose adapters say something."""
    wrapped = adapt(random_model(kind), AdapterConfig(rank=4, alpha=8), 0, tokens)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return wrapped.eval()


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("tokens", [(), (330, 331)])
def test_peft_loads_it_and_the_logits_are_those_of_the_merged_model(
    tmp_path: Path, kind: str, tokens: tuple[int, ...]
) -> None:
    wrapped = trained(kind, tokens)
    adapter = take_adapter(wrapped, "data/base/x", "causal")
    write_adapter(adapter, tmp_path / "adapter")
    with torch.no_grad():
        merged = merge(wrapped).eval()(IDS).logits
        base = random_model(kind).eval()
        untouched = base(IDS).logits
        loaded = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()(IDS).logits
    assert (merged - untouched).abs().max() > 0.01
    torch.testing.assert_close(loaded, merged, atol=1e-4, rtol=1e-4)


def test_equal_adapters_are_equal_bytes_and_name_their_base(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_adapter(take_adapter(trained("llama", (331,)), "data/base/x", "causal"), tmp_path / name)
    for file in (CONFIG, WEIGHTS):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    text = (tmp_path / "a" / CONFIG).read_text("utf-8")
    assert '"base_model_name_or_path": "data/base/x"' in text
    assert '"q_proj"' in text, "names that other programs know"


def test_what_was_taken_does_not_change_with_the_model() -> None:
    wrapped = trained("llama")
    adapter = take_adapter(wrapped, "data/base/x", "causal")
    before = {name: tensor.clone() for name, tensor in adapter.weights.items()}
    with torch.no_grad():
        for parameter in wrapped.parameters():
            parameter.zero_()
    assert before.keys() == adapter.weights.keys() != set()
    for name, tensor in adapter.weights.items():
        assert torch.equal(tensor, before[name])
