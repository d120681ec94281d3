"""A few texts that people read: openings of held-out documents, and how the model continues them or fills their gaps.

The same seed gives the same texts. They prove nothing; the figures do.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from privllm.core.seed import seed_of
from privllm.core.special_tokens import SpecialIds
from privllm.models.config import CorruptionConfig
from privllm.models.gap_filling import GapFiller
from privllm.models.generate import SamplingConfig, generate
from privllm.models.span_corruption import holes
from privllm.tokens.encode import Encoder


def write_samples(
    model: PreTrainedModel,
    special: SpecialIds,
    encoder: Encoder,
    documents: Mapping[str, Sequence[int]],
    prompt: int,
    cfg: SamplingConfig,
) -> dict[str, Any]:
    """Return {"decoding": settings, "samples": [{"id", "prompt", "text"}]} for the first `prompt` tokens of each document."""
    samples = []
    for identifier, tokens in documents.items():
        seeded = replace(cfg, seed=seed_of("sample", cfg.seed, identifier))
        opening = tokens[:prompt]
        text = generate(model, [special.begin, *opening], seeded, special)
        samples.append({"id": identifier, "prompt": decode(encoder, opening), "text": decode(encoder, text)})
    return {"decoding": asdict(cfg), "samples": samples}


def write_fillings(
    fill_gaps: GapFiller,
    model: PreTrainedModel,
    special: SpecialIds,
    encoder: Encoder,
    documents: Mapping[str, Sequence[int]],
    length: int,
) -> dict[str, Any]:
    """Return the samples of a model that fills gaps, as `write_samples` does.

    "prompt" is a document's first `length` tokens with gaps, "text" the model's guesses, "truth" what was cut out.
    """
    samples = []
    for identifier, tokens in documents.items():
        row = np.array(tokens[:length], np.int32)
        if len(row) < 2:
            continue
        generator = np.random.Generator(np.random.PCG64(seed_of("sample", identifier)))
        gaps = holes(CorruptionConfig(), len(row), generator)
        guesses = fill_gaps(model, special, row, gaps)
        cut_out = [row[begin:end] for begin, end in gaps]
        sample = {
            "id": identifier,
            "prompt": _around_gaps(encoder, row, gaps),
            "text": _joined(encoder, guesses),
            "truth": _joined(encoder, cut_out),
        }
        samples.append(sample)
    return {"decoding": {"temperature": 0.0}, "samples": samples}


def _around_gaps(encoder: Encoder, row: np.ndarray, gaps: list[tuple[int, int]]) -> str:
    """Return the text of a row with a mark for each gap."""
    texts = []
    start = 0
    for begin, end in gaps:
        texts.append(decode(encoder, row[start:begin]))
        start = end
    texts.append(decode(encoder, row[start:]))
    return " [...] ".join(texts)


def _joined(encoder: Encoder, spans: Iterable[np.ndarray]) -> str:
    texts = [decode(encoder, span).strip() for span in spans]
    return " | ".join(texts)


def decode(encoder: Encoder, tokens: Sequence[int] | np.ndarray) -> str:
    """Return the text of some tokens, half characters at its ends as U+FFFD."""
    return encoder.decode(np.array(tokens, np.int32))
