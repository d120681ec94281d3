"""A few texts that people read: openings of held-out documents, and how the model goes on.

The same seed gives the same texts. They prove nothing; the figures do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from transformers import Qwen3ForCausalLM

from privllm.core.seed import seed_of
from privllm.model.causal import END_OF_TEXT
from privllm.model.generate import SamplingConfig, generate
from privllm.tokens.encoding import Encoder


def write_samples(
    model: Qwen3ForCausalLM, encoder: Encoder, documents: Mapping[str, Sequence[int]], prompt: int, cfg: SamplingConfig
) -> dict[str, Any]:
    """{"decoding": settings, "samples": [{"id", "prompt", "text"}]} for the first `prompt` tokens of each document."""
    samples = []
    for identifier, tokens in documents.items():
        own = replace(cfg, seed=seed_of("sample", cfg.seed, identifier))
        text = generate(model, [END_OF_TEXT, *tokens[:prompt]], own)
        samples.append({"id": identifier, "prompt": decode(encoder, tokens[:prompt]), "text": decode(encoder, text)})
    return {"decoding": asdict(cfg), "samples": samples}


def decode(encoder: Encoder, tokens: Sequence[int]) -> str:
    """The text of some tokens, half characters at its ends as U+FFFD."""
    return encoder.decode(np.array(tokens, np.int32))
