"""Texts that are drawn side by side are what the model would write one by one."""

from collections import Counter

import pytest
import torch

from privllm.core.special_tokens import own_ids
from privllm.models.causal import CausalConfig, build_causal
from privllm.models.sample_batch import ROWS, Draws, draw

CONTEXT = 32
OPENING = [0, 9]
NEVER = range(1, 6)


@pytest.fixture(scope="module")
def model():
    model = build_causal(CausalConfig(layers=2, width=32, heads=4), own_ids(40), context=CONTEXT, seed=0).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


@torch.no_grad()
def greedy(model, tokens: int, stops: set[int]) -> list[int]:
    text = list(OPENING)
    for _ in range(tokens):
        logits = model(input_ids=torch.tensor([text]), use_cache=False).logits[0, -1]
        logits[list(NEVER)] = -torch.inf
        text.append(int(logits.argmax()))
        if text[-1] in stops:
            break
    return text[2:]


def test_of_the_likeliest_token_alone_every_text_is_the_greedy_one(model) -> None:
    expected = greedy(model, 12, {0})
    assert list(draw(model, OPENING, Draws(3, 12, top_k=1), (0,), NEVER)) == [expected] * 3


def test_a_text_ends_at_its_own_stop_and_the_others_go_on(model) -> None:
    stops = set(range(20, 40))
    texts = list(draw(model, OPENING, Draws(24, 10, temperature=2.0), stops, NEVER))
    assert {len(text) for text in texts} >= {1, 2}, "some end early"
    for text in texts:
        assert stops.isdisjoint(text[:-1])
        assert len(text) == 10 or text[-1] in stops
        assert not {*text} & {*NEVER}
    twice = list(draw(model, OPENING, Draws(24, 10, temperature=2.0, stops=2), stops, NEVER))
    assert all(sum(token in stops for token in text) == 2 for text in twice if len(text) < 10)


@torch.no_grad()
def test_a_text_that_outlives_another_is_drawn_from_its_own_past(model) -> None:
    """After rows have left the batch, each cache must still be its own text's: near temperature 0 every row is greedy."""
    first = list(draw(model, OPENING, Draws(16, 1, temperature=2.0), (), NEVER))
    stops = {first[0][0]}
    texts = list(draw(model, OPENING, Draws(16, 8, temperature=0.05), stops, NEVER))
    for text in texts:
        for place in range(1, len(text)):
            logits = model(input_ids=torch.tensor([[*OPENING, *text[:place]]]), use_cache=False).logits[0, -1]
            logits[list(NEVER)] = -torch.inf
            assert logits[text[place]] > logits.max() - 1, "drawn from another text's past"


def test_a_seed_gives_its_texts_however_many_are_asked_for(model) -> None:
    whole = list(draw(model, OPENING, Draws(2 * ROWS, 3), (), NEVER))
    assert list(draw(model, OPENING, Draws(ROWS, 3), (), NEVER)) == whole[:ROWS]
    assert whole[:ROWS] != whole[ROWS:]
    assert list(draw(model, OPENING, Draws(ROWS, 3, seed=1), (), NEVER)) != whole[:ROWS]


def test_tokens_come_as_often_as_the_model_says(model) -> None:
    logits = model(input_ids=torch.tensor([OPENING])).logits[0, -1].detach()
    logits[list(NEVER)] = -torch.inf
    expected = logits.softmax(0)
    counts = Counter(text[0] for text in draw(model, OPENING, Draws(2000, 1), (), NEVER))
    for token in range(40):
        assert counts[token] / 2000 == pytest.approx(float(expected[token]), abs=0.05)
    likeliest = {*logits.topk(5).indices.tolist()}
    assert {text[0] for text in draw(model, OPENING, Draws(200, 1, top_k=5), (), NEVER)} == likeliest
