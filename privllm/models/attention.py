"""Causal attention that keeps PyTorch's fused kernel, registered with transformers under the name `FUSED_CAUSAL`.

Under `torch.compile`, transformers' own "sdpa" builds a 4-D mask even where none is needed and so loses the
flash kernel (transformers issue #48925). Ours makes no mask unless a padding mask was passed. It does not do
sliding windows, packed `position_ids` or bidirectional attention; the saved model does not name it, so whoever
loads the model gets transformers' default.

Shapes: B batch, H query heads, K key/value heads, Q queries, S keys, D head width.
"""

from typing import Any

import torch
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

FUSED_CAUSAL = "privllm_causal"


def causal_attention(
    module: torch.nn.Module,
    query_BHQD: torch.Tensor,
    key_BKSD: torch.Tensor,
    value_BKSD: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **unused: Any,
) -> tuple[torch.Tensor, None]:
    """Return scaled dot-product attention in the form transformers calls it: ([B, Q, H, D], no weights).

    The last of the Q queries sees all S keys; with Q < S (a key/value cache) the first sees S - Q + 1 of them.
    """
    queries, keys = query_BHQD.shape[2], key_BKSD.shape[2]
    is_grouped = query_BHQD.shape[1] != key_BKSD.shape[1]
    if attention_mask is None and 1 < queries < keys:
        all_visible_QS = torch.ones(queries, keys, dtype=torch.bool, device=query_BHQD.device)
        attention_mask = all_visible_QS.tril(keys - queries)
    out_BHQD = F.scaled_dot_product_attention(
        query_BHQD,
        key_BKSD,
        value_BKSD,
        attn_mask=attention_mask,
        dropout_p=dropout,
        scale=scaling,
        is_causal=attention_mask is None and queries > 1,
        enable_gqa=is_grouped,
    )
    return out_BHQD.transpose(1, 2).contiguous(), None


def causal_mask(*, attention_mask: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor | None:
    """Return no mask, unless a 2-D padding mask hides some keys."""
    if attention_mask is None:
        return None
    return sdpa_mask(attention_mask=attention_mask, **kwargs)


AttentionInterface.register(FUSED_CAUSAL, causal_attention)
AttentionMaskInterface.register(FUSED_CAUSAL, causal_mask)
