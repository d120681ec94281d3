"""A few texts that people read: openings of held-out documents, and how the model goes on or what it puts into their gaps.

The same seed gives the same texts. They prove nothing; the figures do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from privllm.core.seed import seed_of
from privllm.core.special_tokens import END_OF_TEXT, MASK
from privllm.models.generate import SamplingConfig, generate
from privllm.models.seq2seq import SENTINELS
from privllm.models.span_corruption import CorruptionConfig, cut_out, holes
from privllm.tokens.encode import Encoder


def write_samples(
    model: PreTrainedModel, encoder: Encoder, documents: Mapping[str, Sequence[int]], prompt: int, cfg: SamplingConfig
) -> dict[str, Any]:
    """{"decoding": settings, "samples": [{"id", "prompt", "text"}]} for the first `prompt` tokens of each document."""
    samples = []
    for identifier, tokens in documents.items():
        own = replace(cfg, seed=seed_of("sample", cfg.seed, identifier))
        text = generate(model, [END_OF_TEXT, *tokens[:prompt]], own)
        samples.append({"id": identifier, "prompt": decode(encoder, tokens[:prompt]), "text": decode(encoder, text)})
    return {"decoding": asdict(cfg), "samples": samples}


def fillings(family: str, model: PreTrainedModel, encoder: Encoder, documents: Mapping[str, Sequence[int]], length: int) -> dict[str, Any]:
    """For a model that fills gaps: "prompt" is a document's first `length` tokens with gaps, "text" its guesses, "truth" the rest."""
    samples = []
    for identifier, tokens in documents.items():
        row = np.array(tokens[:length], np.int32)
        if len(row) < 2:
            continue
        cut = holes(CorruptionConfig(), len(row), np.random.Generator(np.random.PCG64(seed_of("sample", identifier))))
        ends = [0, *(end for _, end in cut)]
        kept = [decode(encoder, row[end:begin]) for end, begin in zip(ends, [*(begin for begin, _ in cut), len(row)], strict=True)]
        guesses = FILLERS[family](model, row, cut)
        shown = {"text": guesses, "truth": [row[begin:end] for begin, end in cut]}
        joined = {name: " | ".join(decode(encoder, one).strip() for one in parts) for name, parts in shown.items()}
        samples.append({"id": identifier, "prompt": " [...] ".join(kept), **joined})
    return {"decoding": {"temperature": 0.0}, "samples": samples}


@torch.inference_mode()
def _unmask(model: PreTrainedModel, row: np.ndarray, cut: list[tuple[int, int]]) -> list[np.ndarray]:
    ids = torch.from_numpy(row).long()[None].clone()
    for begin, end in cut:
        ids[0, begin:end] = MASK
    likeliest = model(input_ids=ids).logits[0].argmax(-1).numpy()
    return [likeliest[begin:end] for begin, end in cut]


@torch.inference_mode()
def _write_spans(model: Any, row: np.ndarray, cut: list[tuple[int, int]]) -> list[np.ndarray]:
    """What the decoder writes behind each sentinel; nothing for those that it leaves out."""
    vocabulary = model.config.vocab_size - SENTINELS
    inputs, labels = cut_out(row, cut, vocabulary)
    written = model.generate(torch.from_numpy(inputs)[None], do_sample=False, max_new_tokens=2 * len(labels))[0].numpy()[1:]
    marks = {int(token) - vocabulary: place for place, token in reversed(list(enumerate(written))) if token >= vocabulary}
    ends = [*np.flatnonzero((written >= vocabulary) | (written == END_OF_TEXT)).tolist(), len(written)]
    return [written[marks[i] + 1 : min(e for e in ends if e > marks[i])] if i in marks else written[:0] for i in range(len(cut))]


FILLERS = {"masked": _unmask, "seq2seq": _write_spans}


def decode(encoder: Encoder, tokens: Sequence[int] | np.ndarray) -> str:
    """The text of some tokens, half characters at its ends as U+FFFD."""
    return encoder.decode(np.array(tokens, np.int32))
