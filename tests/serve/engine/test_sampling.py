import math

import torch
from torch import Tensor

from privllm.core.special_tokens import PAD
from privllm.models.generate import SamplingConfig, sample
from privllm.serve.engine.base import SamplingSettings
from privllm.serve.engine.sampling import Row, likelihood, sample_rows


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_row_by_row_what_generate_draws() -> None:
    logits = torch.randn(40, 500, generator=generator()) * 3
    settings = [
        SamplingSettings(temperature=(0.0, 0.5, 1.0, 2.0)[i % 4], top_p=(1.0, 0.9, 0.3, 0.01)[i % 3], seed=i)
        for i in range(40)
    ]
    alone = [generator(i) for i in range(40)]
    together = [Row(settings[i], generator(i)) for i in range(40)]
    for _ in range(3):
        expected = [
            sample(logits[i], SamplingConfig(1, cfg.temperature, 0, cfg.top_p, i), alone[i], (PAD,))
            for i, cfg in enumerate(settings)
        ]
        assert sample_rows(logits, together, (PAD,)) == expected


def test_what_is_forbidden_is_not_drawn() -> None:
    logits = torch.tensor([[0.0, 9.0, 1.0]])
    row = Row(SamplingSettings(temperature=0.0), generator())
    assert sample_rows(logits, [row], (1,)) == [2]
    assert sample_rows(logits, [row]) == [1]


def test_the_smallest_top_p_leaves_the_likeliest_token() -> None:
    logits = torch.tensor([[0.0, 9.0, 1.0]])
    assert sample_rows(logits, [Row(SamplingSettings(temperature=1.0, top_p=5e-324), generator())]) == [1]


def test_a_row_without_numbers_fails_alone() -> None:
    logits = torch.tensor([[0.0, 9.0], [math.nan, math.nan], [9.0, 0.0]])
    rows = [Row(SamplingSettings(temperature=0.1), generator()) for _ in range(3)]
    assert sample_rows(logits, rows) == [1, None, 0]


def drawn(
    logits_V: Tensor, settings: SamplingSettings, banned: tuple[int, ...] = (), **ids: list[int]
) -> set[int | None]:
    """The tokens that can be drawn at all."""
    one = generator()
    return {sample_rows(logits_V[None], [Row(settings, one, **ids)], banned)[0] for _ in range(400)}


PROBABILITIES = torch.tensor([0.4, 0.3, 0.2, 0.1])
LOGITS = PROBABILITIES.log()


def test_top_k_and_min_p_leave_out_what_is_unlikely() -> None:
    assert drawn(LOGITS, SamplingSettings(temperature=1, top_p=1)) == {0, 1, 2, 3}
    assert drawn(LOGITS, SamplingSettings(temperature=1, top_p=1, top_k=2)) == {0, 1}
    assert drawn(LOGITS, SamplingSettings(temperature=1, top_p=1, top_k=9)) == {0, 1, 2, 3}
    assert drawn(LOGITS, SamplingSettings(temperature=1, top_p=1, min_p=0.45)) == {0, 1, 2}
    assert drawn(LOGITS, SamplingSettings(temperature=1, top_p=1, min_p=1)) == {0}
    # of the probabilities at this temperature, which are 0.44, 0.30, 0.18 and 0.08 here
    assert drawn(LOGITS, SamplingSettings(temperature=0.8, top_p=1, min_p=0.45)) == {0, 1}
    # of those that may be said
    assert drawn(LOGITS, SamplingSettings(temperature=1, top_p=1, top_k=2), (0,)) == {1, 2}
    assert drawn(LOGITS, SamplingSettings(temperature=1, top_p=1, min_p=0.6), (0,)) == {1, 2}
    # top_p is of what top_k left: 0.4 / 0.7 is enough
    assert drawn(LOGITS, SamplingSettings(temperature=1, top_p=0.55, top_k=2)) == {0}


def test_penalties_are_vllms() -> None:
    logits = torch.tensor([3.0, 2.5, -1.0, -2.0])
    greedy = SamplingSettings(temperature=0)
    ids = {"prompt_ids": [0], "reply_ids": [1, 1]}

    def first(**penalties: float) -> int:
        (token,) = drawn(logits, SamplingSettings(temperature=0, **penalties), **ids)
        return token

    assert drawn(logits, greedy, **ids) == {0}
    assert first(repetition_penalty=1.3) == 0  # 2.31 against 1.92: both were seen
    assert first(presence_penalty=2) == 0  # what only the prompt says costs nothing
    assert drawn(logits, SamplingSettings(temperature=0, presence_penalty=1), prompt_ids=[1], reply_ids=[0]) == {1}
    assert drawn(logits, SamplingSettings(temperature=0, presence_penalty=0.4), prompt_ids=[1], reply_ids=[0]) == {0}
    for count, wanted in ((1, 0), (2, 1)):  # 0.3 each
        settings = SamplingSettings(temperature=0, frequency_penalty=0.3)
        assert drawn(logits, settings, reply_ids=[0] * count) == {wanted}
    below = torch.tensor([-1.0, -1.5])  # less likely by a factor, on either side of 0
    assert drawn(below, SamplingSettings(temperature=0, repetition_penalty=1.6), prompt_ids=[0]) == {1}


def test_likelihoods_are_the_models_own() -> None:
    found = likelihood(LOGITS, 2, 2)
    assert math.isclose(found.logprob, math.log(0.2), rel_tol=1e-5)
    assert [token for token, _ in found.top] == [0, 1]
    assert math.isclose(found.top[0][1], math.log(0.4), rel_tol=1e-5)
    assert likelihood(LOGITS, 0, 0).top == []
    assert len(likelihood(LOGITS, 0, 20).top) == 4
