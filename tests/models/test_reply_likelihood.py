"""Log-probabilities of replies against one forward pass a token, whatever is in the batch beside them."""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from privllm.core.special_tokens import own_ids
from privllm.models.causal import CausalConfig, build_causal
from privllm.models.reply_likelihood import ReplyPair, agreement, log_probabilities, preferred, rows_of

SAID = [([3, 9, 4], [7, 8, 5]), ([3], [5]), ([3, 11, 12, 13, 4], [20, 5]), ([6, 4], [9, 9, 9, 30, 31, 5])]


def scrambled(model: PreTrainedModel) -> PreTrainedModel:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


@pytest.fixture(scope="module", params=["ours", "llama"])
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    if request.param == "ours":
        made = build_causal(CausalConfig(layers=2, width=32, heads=4), own_ids(40), context=16, seed=0)
        for layer in made.model.layers:
            layer.self_attn.attention_dropout = 0.5  # a likelihood must not see it
        return scrambled(made)
    shape = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 16,
    }
    return scrambled(LlamaForCausalLM(LlamaConfig(vocab_size=40, **shape)))


@torch.no_grad()
def slowly(model: PreTrainedModel, prompt: list[int], reply: list[int]) -> float:
    """Token by token, by the definition."""
    total = 0.0
    for place, token in enumerate(reply):
        logits = model(input_ids=torch.tensor([prompt + reply[:place]])).logits[0, -1]
        total += float(logits.double().log_softmax(0)[token])
    return total


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_as_token_by_token(model: PreTrainedModel, batch_size: int) -> None:
    model.train()
    found = log_probabilities(model, SAID, batch_size)
    assert model.training  # as it was
    model.eval()
    assert found.total == pytest.approx([slowly(model, *one) for one in SAID], rel=1e-5)
    assert found.tokens.tolist() == [3, 1, 2, 6]
    assert found.mean == pytest.approx(found.total / [3, 1, 2, 6])


def test_margins_are_of_means_and_of_sums(model: PreTrainedModel) -> None:
    pairs = [ReplyPair([3, 9, 4], [7, 8, 5], [5]), ReplyPair([3, 4], [5], [7, 8, 5])]
    found = preferred(model, pairs)
    for i, pair in enumerate(pairs):
        chosen, rejected = (slowly(model.eval(), list(pair.prompt), list(reply)) for reply in pair[1:])
        assert found.total[i] == pytest.approx(chosen - rejected, rel=1e-4)
        assert found.mean[i] == pytest.approx(chosen / len(pair.chosen) - rejected / len(pair.rejected), rel=1e-4)


def test_nothing_gives_nothing(model: PreTrainedModel) -> None:
    assert len(log_probabilities(model, []).total) == len(preferred(model, []).mean) == 0


def test_rows_say_where_the_reply_is() -> None:
    inputs, labels, wanted = rows_of([([1, 2], [3, 4]), ([5], [6])])
    assert inputs.tolist() == [[1, 2, 3], [5, 0, 0]]
    assert labels[wanted].tolist() == [3, 4, 6]
    assert wanted.tolist() == [[False, True, True], [True, False, False]]


def test_half_a_point_where_neither_is_likelier() -> None:
    assert agreement(np.array([0.3, -2.0, 0.0])).tolist() == [1.0, 0.0, 0.5]
