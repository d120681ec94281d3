import numpy as np
import pytest
import torch

from privllm.core.special_tokens import END_OF_TEXT, own_ids
from privllm.models.config import MaskedConfig, Seq2SeqConfig
from privllm.models.gap_filling import unmask, write_spans
from privllm.models.loading import build

VOCABULARY = 40
ROW = np.arange(6, 18, dtype=np.int32)
GAPS = [(1, 3), (5, 6)]


def test_every_gap_is_filled_token_by_token() -> None:
    model = build("masked", MaskedConfig(layers=1, width=32, heads=2), own_ids(VOCABULARY), 16, 0).eval()
    assert [len(tokens) for tokens in unmask(model, own_ids(VOCABULARY), ROW, GAPS)] == [2, 1]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ([VOCABULARY, 7, 8, VOCABULARY + 1, 9, END_OF_TEXT], [[7, 8], [9]]),
        ([VOCABULARY + 1, 9, END_OF_TEXT, 3], [[], [9]]),
        ([VOCABULARY, 7, VOCABULARY, 8], [[7], []]),
        ([5, 5], [[], []]),
    ],
)
def test_spans_are_what_stands_behind_each_sentinel(
    output: list[int], expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(
        "seq2seq", Seq2SeqConfig(encoder_layers=1, decoder_layers=1, width=32, heads=2), own_ids(VOCABULARY), 16, 0
    ).eval()
    monkeypatch.setattr(model, "generate", lambda *_, **__: torch.tensor([[0, *output]]))
    assert [tokens.tolist() for tokens in write_spans(model, own_ids(VOCABULARY), ROW, GAPS)] == expected
