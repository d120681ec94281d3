import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from privllm.core.special_tokens import END_OF_TEXT, PAD, own_ids
from privllm.models.causal import CausalConfig, build_causal
from privllm.models.generate import SamplingConfig, generate, sample

CONTEXT = 16
SPECIAL = own_ids(40)


@pytest.fixture(scope="module")
def model():
    model = build_causal(CausalConfig(layers=2, width=32, heads=4), own_ids(40), context=CONTEXT, seed=0).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


@torch.no_grad()
def greedy_without_cache(model, prompt: list[int], tokens: int) -> list[int]:
    text = list(prompt)
    for _ in range(tokens):
        logits = model(input_ids=torch.tensor([text]), use_cache=False).logits[0, -1]
        logits[1:6] = -torch.inf
        if int(logits.argmax()) == END_OF_TEXT:
            break
        text.append(int(logits.argmax()))
    return text[len(prompt) :]


@pytest.mark.parametrize("start", range(2, 12))
def test_cached_generation_equals_uncached(model, start):
    prompt = [start, start + 5, start + 9]
    cfg = SamplingConfig(max_new_tokens=CONTEXT - 3, temperature=0.0)
    assert generate(model, prompt, cfg, SPECIAL) == greedy_without_cache(model, prompt, CONTEXT - 3)


def test_the_seed_decides_and_global_randomness_does_not(model):
    first, second = (
        generate(model, [5], SamplingConfig(max_new_tokens=12, temperature=2.0, top_p=1.0, seed=seed), SPECIAL)
        for seed in (1, 2)
    )
    torch.rand(7)
    assert (
        generate(model, [5], SamplingConfig(max_new_tokens=12, temperature=2.0, top_p=1.0, seed=1), SPECIAL)
        == first
        != second
    )


def test_goes_on_beyond_the_context(model):
    assert (
        len(generate(model, list(range(2, 38)), SamplingConfig(max_new_tokens=50, temperature=1.0, seed=4), SPECIAL))
        <= 50
    )
    assert (
        max(
            len(generate(model, [], SamplingConfig(max_new_tokens=50, temperature=1.0, seed=seed), SPECIAL))
            for seed in range(5)
        )
        > CONTEXT
    )


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=12), st.integers(0, 4), st.floats(0.05, 1.0), st.integers(0, 99))
def test_only_tokens_within_top_k_and_top_p_are_drawn(logits, top_k, top_p, seed):
    values = torch.tensor(logits)
    token = sample(
        values, SamplingConfig(temperature=1.0, top_k=top_k, top_p=top_p), torch.Generator().manual_seed(seed), (PAD,)
    )
    allowed = values.clone()
    allowed[PAD] = -torch.inf
    likelier = allowed > allowed[token]
    assert token != PAD
    assert top_k == 0 or int(likelier.sum()) < top_k
    assert float(allowed.softmax(0)[likelier].sum()) < top_p + 1e-5


SHARES = {
    7: 0.5,
    2: 0.25,
    5: 0.125,
    9: 0.0625,
    0: 0.0625,
}  # of tokens, exact in binary; the last two are equally likely


@pytest.mark.parametrize(
    ("top_p", "top_k", "drawn"),
    [
        (0.01, 0, {7}),
        (0.5, 0, {7}),
        (0.51, 0, {7, 2}),  # the token that passes the limit belongs to the nucleus
        (0.75, 0, {7, 2}),
        (0.8, 0, {7, 2, 5}),
        (0.9, 0, {7, 2, 5, 0}),
        (1.0, 0, {7, 2, 5, 0, 9}),
        (1.0, 2, {7, 2}),
        (0.5, 3, {7}),
    ],
)
def test_the_nucleus_is_the_fewest_tokens_that_reach_top_p(top_p: float, top_k: int, drawn: set[int]) -> None:
    logits = torch.full((12,), -torch.inf)
    for token, share in SHARES.items():
        logits[token] = math.log(share)
    cfg = SamplingConfig(temperature=1.0, top_p=top_p, top_k=top_k)
    assert {sample(logits, cfg, torch.Generator().manual_seed(seed), ()) for seed in range(200)} == drawn
