"""What a model that does not continue text puts into the gaps of a row, greedily.

Gaps are (begin, end) pairs in order, as `span_corruption.holes` gives them.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from privllm.core.special_tokens import SpecialIds
from privllm.models.span_corruption import cut_out

Gaps = list[tuple[int, int]]
# of a model, its tokenizer's special ids, a row and its gaps
GapFiller = Callable[[PreTrainedModel, SpecialIds, np.ndarray, Gaps], list[np.ndarray]]


@torch.inference_mode()
def unmask(model: PreTrainedModel, special: SpecialIds, row: np.ndarray, gaps: Gaps) -> list[np.ndarray]:
    """Return the likeliest token at each masked place, gap by gap."""
    ids = torch.from_numpy(row).long()[None].clone().to(model.device)
    for begin, end in gaps:
        ids[0, begin:end] = special.required_mask
    likeliest = model(input_ids=ids).logits[0].argmax(-1).cpu().numpy()
    return [likeliest[begin:end] for begin, end in gaps]


@torch.inference_mode()
def write_spans(model: Any, special: SpecialIds, row: np.ndarray, gaps: Gaps) -> list[np.ndarray]:
    """Return what the decoder writes behind each sentinel; nothing for those that it leaves out."""
    inputs, labels = cut_out(row, gaps, special)
    input_ids = torch.from_numpy(inputs)[None].to(model.device)
    output = model.generate(input_ids, do_sample=False, max_new_tokens=2 * len(labels))[0].cpu().numpy()[1:]
    is_sentinel = np.isin(output, special.sentinels)
    ends = [*np.flatnonzero(is_sentinel | (output == special.end)).tolist(), len(output)]
    spans = []
    for number in range(len(gaps)):
        places = np.flatnonzero(output == special.sentinels[number])
        if not len(places):
            spans.append(output[:0])
            continue
        sentinel_at = int(places[0])
        end = min(place for place in ends if place > sentinel_at)
        spans.append(output[sentinel_at + 1 : end])
    return spans
