"""The check, before a model serves, that it says in a batch what it says alone.

Any causal model may be served, so one that reads masks or positions differently must be found early.
"""

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from privllm.core.errors import UserError
from privllm.serve.engine.base import CANNOT_BATCH
from privllm.serve.engine.prompting import PromptFormat
from privllm.serve.engine.scheduler import Scheduler

# Largest difference between logits alone and in a batch, as a share of the spread of a row's logits;
# half precision is that rough.
TOLERANCE = 2e-2


@torch.inference_mode()
def require_batching(model: PreTrainedModel, prompt_format: PromptFormat) -> None:
    """Raise UserError unless texts of different lengths get the same logits together as alone."""
    texts = _probe_texts(model.config.get_text_config().vocab_size)
    scheduler = Scheduler(model, prompt_format, len(texts))
    try:
        for ids in texts:
            prompt_cache = DynamicCache()
            input_ids = torch.tensor([ids[:-1]], device=model.device)
            model(input_ids=input_ids, past_key_values=prompt_cache, use_cache=True)
            scheduler.kv_cache.add(prompt_cache)
        batched_RV = scheduler.next_logits([ids[-1] for ids in texts])
        read_RV, _ = scheduler.read_whole(texts)
        batched_RV = torch.cat([batched_RV, read_RV])
        alone_RV = torch.cat([_last_logits(model, ids) for ids in texts] * 2)
    except CANNOT_BATCH as error:
        raise UserError(
            f"this kind of model cannot be batched here ({error}): put its own server behind --engine."
        ) from error
    difference_R = (batched_RV - alone_RV).abs().amax(1)
    spread_R = alone_RV.float().std(1).clamp_min(1e-6)
    worst = float((difference_R / spread_R).max())
    tolerance = TOLERANCE if alone_RV.dtype == torch.float32 else 10 * TOLERANCE
    if not worst < tolerance:  # also where it is nan
        raise UserError(
            f"in a batch this model gives other results (off by {worst:.3f}): put its own server behind --engine."
        )


def _probe_texts(vocabulary: int) -> list[list[int]]:
    """Return three lists of ids, of different lengths, above the ids of special tokens."""
    first_id = 20
    ids = max(1, vocabulary - first_id)
    return [[first_id + (i * 7 + 3 * length) % ids for i in range(length)] for length in (9, 2, 5)]


def _last_logits(model: PreTrainedModel, ids: list[int]) -> Tensor:
    """Return the logits [1, V] after `ids`, read at once and without a cache."""
    input_ids = torch.tensor([ids], device=model.device)
    return model(input_ids=input_ids, use_cache=False).logits[:, -1]
