"""What training on documents made a base model forget: its loss on general text before and after, as a relative change.

The texts are those of `tokens.general_text` that training never read, without what was given at their beginning. Both models score
the same tokens, so the change of their sum is what counts, and the interval is over texts. Replies to questions count by themselves
too, since a model may keep its knowledge and lose its voice.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from privllm.core.special_tokens import SpecialIds
from privllm.evaluate.scoring import ScoredDocument, score_streams
from privllm.stats.difference import DIGITS, interval_of
from privllm.stats.scores import Score
from privllm.tokens.chat_format import Speech
from privllm.tokens.general_text import GeneralText, first_place


def score_general(
    family: str, model: PreTrainedModel, special: SpecialIds, texts: Sequence[GeneralText], batch_rows: int
) -> list[ScoredDocument]:
    """Return the scores of general texts, without the tokens that were given."""
    streams = {text.id: text.tokens for text in texts}
    scored = score_streams(family, model, special, streams, batch_rows)
    return _from_places(scored, {text.id: text.given - 1 for text in texts})


def replies_in(texts: Sequence[GeneralText], speech: Speech) -> dict[str, int]:
    """Return {id of a text: place of its reply's first token, as of `ScoredDocument`} of those that are a question and its reply."""
    between = [*speech.marks.user_end, *speech.marks.assistant]
    first_tokens = {}
    for text in texts:
        place = first_place(text.tokens.tolist(), between)
        if place >= 0:
            first_tokens[text.id] = place + len(between) - 1
    return first_tokens


def compare_general(
    before: Sequence[ScoredDocument], after: Sequence[ScoredDocument], replies: Mapping[str, int]
) -> dict[str, Any]:
    """Return the loss of the base model and of the trained one on the same texts, and the relative change with its interval.

    `replies` says where they begin (`replies_in`); their own figures stand below the key "replies", where there are any.
    """
    assert [text.id for text in before] == [text.id for text in after]
    report = _change(before, after)
    if replies:
        report["replies"] = _change(_from_places(before, replies), _from_places(after, replies))
    return report


def _from_places(texts: Sequence[ScoredDocument], first_tokens: Mapping[str, int]) -> list[ScoredDocument]:
    """Return the scores of texts from their first tokens on, {id: place as of `ScoredDocument`}; others are left out."""
    parts = []
    for text in texts:
        if text.id in first_tokens:
            is_part = text.places >= first_tokens[text.id]
            parts.append(ScoredDocument(text.id, *(column[is_part] for column in text[1:])))
    return parts


def _change(before: Sequence[ScoredDocument], after: Sequence[ScoredDocument]) -> dict[str, Any]:
    """Return the nats a token before and after, and the relative change of their sum."""
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
