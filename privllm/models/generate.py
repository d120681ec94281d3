"""Text from a causal model, token by token, with a key/value cache and a generator of its own.

The same seed gives the same text on the same machine, whatever else draws random numbers. It does not batch, and
it does not search (no beams).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from privllm.core.params import require
from privllm.core.special_tokens import SpecialIds


@dataclass
class SamplingConfig:
    max_new_tokens: int = 200  # >= 1
    temperature: float = 0.8  # 0 = always the likeliest token
    top_k: int = 0  # only the k likeliest tokens; 0 = all
    top_p: float = 0.95  # only the likeliest tokens that together reach this probability (Holtzman et al. 2020), (0, 1]
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.max_new_tokens >= 1, "max_new_tokens", "at least 1")
        require(self.temperature >= 0, "temperature", "0 or more")
        require(self.top_k >= 0, "top_k", "0 or more")
        require(0 < self.top_p <= 1, "top_p", "above 0 and at most 1")


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    prompt: Sequence[int],
    cfg: SamplingConfig,
    special: SpecialIds,
) -> list[int]:
    """Return new token ids after `prompt`, up to an end of text (not included), no other special ones among them.

    An empty prompt starts a new document. Of a text longer than the model's context the last half context is kept
    and read again, so generation can continue for as long as it is asked to.
    """
    generator = torch.Generator().manual_seed(cfg.seed)
    context = model.config.max_position_embeddings
    text = list(prompt) or [special.begin]
    never = special.never_written((special.end,))
    unread, cache = text[-context:], DynamicCache(config=model.config)
    new_tokens: list[int] = []
    while len(new_tokens) < cfg.max_new_tokens:
        if cache.get_seq_length() + len(unread) > context:
            unread, cache = text[-max(1, context // 2) :], DynamicCache(config=model.config)
        ids = torch.tensor([unread], device=model.device)
        output = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        logits_V = output.logits[0, -1].float().cpu()
        token = sample(logits_V, cfg, generator, never)
        if token == special.end:
            break
        text.append(token)
        new_tokens.append(token)
        unread = [token]
    return new_tokens


def sample(logits_V: Tensor, cfg: SamplingConfig, generator: torch.Generator, never: Sequence[int]) -> int:
    """Draw one token id that is not in `never`."""
    if never:
        logits_V = logits_V.index_fill(0, torch.tensor(never), -torch.inf)
    if cfg.temperature == 0:
        return int(logits_V.argmax())
    sorted_V, ids_V = (logits_V / cfg.temperature).sort(descending=True, stable=True)
    probabilities_V = sorted_V.softmax(0)
    before_V = probabilities_V.cumsum(0) - probabilities_V
    keep_V = before_V < cfg.top_p  # the first always, and the one that reaches top_p
    if cfg.top_k:
        keep_V[cfg.top_k :] = False
    # In the order of ids: two tokens that are nearly as likely as each other may change places by rounding, and the draw must not.
    weights_V = torch.zeros_like(probabilities_V).scatter_(0, ids_V, probabilities_V * keep_V)
    return int(torch.multinomial(weights_V, 1, generator=generator))
