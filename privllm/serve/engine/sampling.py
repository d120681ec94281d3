"""The next token of several sequences at once, each drawn with its own settings and its own generator: neighbours change nothing."""

from collections.abc import Sequence

import torch
from torch import Tensor

from privllm.models.generate import SamplingConfig, sample
from privllm.serve.engine.base import Settings


def draw(logits_RV: Tensor, settings: Sequence[Settings], generators: Sequence[torch.Generator], never: Sequence[int] = ()) -> list[int]:
    """One token id per row of logits [R, V]; the ids `never` are not drawn. Generators are of the CPU.

    Row by row: sorting all rows at once took as long (64 rows of 4,096: 50 ms against 40), and one row longer.
    """
    rows = zip(logits_RV.float().cpu(), settings, generators, strict=True)
    return [sample(row_V, SamplingConfig(temperature=cfg.temperature, top_p=cfg.top_p), own, never) for row_V, cfg, own in rows]
