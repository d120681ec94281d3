"""Many texts at once from one opening, drawn from a causal model: what it would say by itself.

All texts begin alike, so no row is padded. One seed gives one set of texts on the same machine. A single text that
continues a given one is `generate`'s work.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from privllm.core.progress import bar
from privllm.core.seed import seed_of

ROWS = 32  # texts that are drawn side by side


@dataclass(frozen=True)
class Draws:
    """How texts are drawn."""

    count: int
    tokens: int  # of each, at most
    temperature: float = 1.0
    top_k: int = 0  # only the k likeliest tokens (Fan et al. 2018); 0 = all
    seed: int = 0
    stops: int = 1  # the how-manieth stop ends a text


def draw(
    model: PreTrainedModel, opening: Sequence[int], cfg: Draws, stops: Collection[int], never: Collection[int] = ()
) -> Iterator[list[int]]:
    """Yield `cfg.count` continuations of `opening`: ids up to and with the stop that ends them, where it was written.

    No token of `never` is written.
    """
    with bar("texts by the model", cfg.count) as advance:
        for first in range(0, cfg.count, ROWS):
            generator = torch.Generator().manual_seed(seed_of("draw", cfg.seed, first))
            rows = min(ROWS, cfg.count - first)
            texts = _batch(model, opening, cfg, rows, frozenset(stops), sorted(never), generator)
            advance(rows)
            yield from texts


@torch.inference_mode()
def _batch(
    model: PreTrainedModel,
    opening: Sequence[int],
    cfg: Draws,
    rows: int,
    stops: frozenset[int],
    never: list[int],
    generator: torch.Generator,
) -> list[list[int]]:
    """Return `rows` continuations, drawn together; a text that has ended leaves the batch."""
    texts: list[list[int]] = [[] for _ in range(rows)]
    stops_left = [cfg.stops] * rows
    running = list(range(rows))
    cache = DynamicCache(config=model.config)
    unread_BT = torch.tensor([list(opening)] * rows, device=model.device)
    for _ in range(cfg.tokens):
        output = model(input_ids=unread_BT, past_key_values=cache, use_cache=True, logits_to_keep=1)
        drawn = _drawn(output.logits[:, -1].float().cpu(), cfg, never, generator)
        going_on = []
        for place, (text, token) in enumerate(zip(running, drawn, strict=True)):
            texts[text].append(token)
            stops_left[text] -= token in stops
            if stops_left[text] > 0:
                going_on.append(place)
        if not going_on:
            break
        if len(going_on) < len(running):
            cache.batch_select_indices(torch.tensor(going_on, device=model.device))
            running = [running[place] for place in going_on]
        unread_BT = torch.tensor([[drawn[place]] for place in going_on], device=model.device)
    return texts


def _drawn(logits_BV: Tensor, cfg: Draws, never: list[int], generator: torch.Generator) -> list[int]:
    """Return a token id for each row."""
    if never:
        logits_BV = logits_BV.index_fill(1, torch.tensor(never), -torch.inf)
    if cfg.top_k:
        likeliest_B1 = logits_BV.topk(min(cfg.top_k, logits_BV.shape[1]), 1).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < likeliest_B1, -torch.inf)
    weights_BV = (logits_BV / cfg.temperature).softmax(1)
    drawn_B: list[int] = torch.multinomial(weights_BV, 1, generator=generator)[:, 0].tolist()
    return drawn_B
