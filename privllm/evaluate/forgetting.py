"""What training on documents made a base model forget: its loss on general text before and after, as a relative change.

The texts are those of `tokens.general_text` that training never read. Both models score the same tokens, so the change of
their sum is what counts, and the interval is over texts.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from privllm.evaluate.scoring import ScoredDocument
from privllm.stats.difference import DIGITS, interval_of
from privllm.stats.scores import Score
from privllm.tokens.general_text import MEASURED, read_general


def general_streams(start: Path) -> dict[str, np.ndarray]:
    """Return {id: tokens} of the texts that both models are measured on; {} where there are none."""
    return {text.id: text.tokens for text in read_general(start, MEASURED)}


def compare_general(before: Sequence[ScoredDocument], after: Sequence[ScoredDocument]) -> dict[str, Any]:
    """Return the loss of the base model and of the trained one on the same texts, and the relative change with its interval."""
    assert [text.id for text in before] == [text.id for text in after]
    tokens = np.array([len(text.nats) for text in before], float)
    nats_before = np.array([text.nats.sum() for text in before])
    nats_after = np.array([text.nats.sum() for text in after])
    relative = Score(nats_after, nats_before)
    interval = interval_of(relative, [text.id for text in before])
    return {
        "texts": len(before),
        "tokens": int(tokens.sum()),
        "nats_before": round(Score(nats_before, tokens).value, DIGITS),
        "nats_after": round(Score(nats_after, tokens).value, DIGITS),
        "change": round(relative.value - 1, DIGITS),
        "interval": [round(end - 1, DIGITS) for end in interval] if interval else None,
    }
