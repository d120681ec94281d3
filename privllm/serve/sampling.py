"""The next token of several sequences at once, each drawn with its own settings and its own generator.

Row by row it is what `model.generate.sample` draws: neighbours change nothing. It runs no model.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from privllm.serve.engine import Settings


def draw(logits_RV: Tensor, settings: Sequence[Settings], generators: Sequence[torch.Generator], never: Sequence[int] = ()) -> list[int]:
    """One token id per row of logits [R, V]; the ids `never` are not drawn. Generators are of the CPU."""
    logits_RV = logits_RV.float().cpu()
    if never:
        logits_RV = logits_RV.index_fill(1, torch.tensor(never), -torch.inf)
    drawn = logits_RV.argmax(1).tolist()
    warm = [row for row, cfg in enumerate(settings) if cfg.temperature > 0]
    if not warm:
        return drawn
    scaled_WV = logits_RV[warm] / torch.tensor([settings[row].temperature for row in warm])[:, None]
    sorted_WV, ids_WV = scaled_WV.sort(dim=1, descending=True, stable=True)
    probabilities_WV = sorted_WV.softmax(1)
    before_WV = probabilities_WV.cumsum(1) - probabilities_WV
    keep_WV = before_WV < torch.tensor([settings[row].top_p for row in warm])[:, None]
    keep_WV[:, 0] = True
    for place, row in enumerate(warm):
        kept_V = probabilities_WV[place] * keep_WV[place]
        drawn[row] = int(ids_WV[place, torch.multinomial(kept_V, 1, generator=generators[row])])
    return drawn
