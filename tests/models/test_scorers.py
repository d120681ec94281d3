import numpy as np
import pytest

from privllm.core.special_tokens import own_ids
from privllm.models.config import CausalConfig, MaskedConfig, Seq2SeqConfig
from privllm.models.family import FAMILIES
from privllm.models.loading import build
from privllm.models.scorers import RowScores

VOCABULARY, CONTEXT = 40, 16
SMALL = {
    "causal": CausalConfig(layers=1, width=32, heads=2),
    "masked": MaskedConfig(layers=1, width=32, heads=2),
    "seq2seq": Seq2SeqConfig(encoder_layers=1, decoder_layers=1, width=32, heads=2),
}
ROWS = [np.arange(6, 6 + length, dtype=np.int64) for length in (CONTEXT + 1, 5, 2)]
SEEDS = [3, 4, 5]


def scores_of(family: str, rows: list[np.ndarray], seeds: list[int]) -> list[RowScores]:
    model = build(family, SMALL[family], own_ids(VOCABULARY), CONTEXT, 0).eval()
    return FAMILIES[family].scorer(model, own_ids(VOCABULARY), rows, seeds)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_is_scored_as_it_is_alone(family: str) -> None:
    together = scores_of(family, ROWS, SEEDS)
    for row, seed, scores in zip(ROWS, SEEDS, together, strict=True):
        (alone,) = scores_of(family, [row], [seed])
        assert scores.places.tolist() == alone.places.tolist()
        assert scores.nats == pytest.approx(alone.nats, rel=1e-4)
        assert (scores.nats > 0).all()


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if not family.traits.writes_separately])
def test_every_token_but_the_first_is_scored_once(family: str) -> None:
    for row, scores in zip(ROWS, scores_of(family, ROWS, SEEDS), strict=True):
        assert scores.places.tolist() == list(range(1, len(row)))
