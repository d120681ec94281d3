"""Causal attention that keeps PyTorch's fused kernel, registered with transformers under the name `FUSED_CAUSAL`.

Under `torch.compile`, transformers' own "sdpa" builds a 4-D mask even where none is needed and so loses the
flash kernel (transformers issue #48925). Ours makes no mask unless a padding mask was passed. In packed rows it
attends chunk by chunk with the same kernel, which a mask would lose too: at context 1024 and 250 tokens a document a
mask costs a tenth of a step, and chunks save a tenth (reports/LOG.md). On CUDA, where each chunk would be a launch, and
telling the host where chunks begin would hold up every step, FlexAttention does the same while a model trains. It does not do
sliding windows or bidirectional attention; the saved model does not name it, so whoever loads the model gets transformers' default.

Shapes: B batch, H query heads, K key/value heads, Q queries, S keys, D head width.
"""

from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask, flex_attention
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
    chunk_starts: torch.Tensor | None = None,
    blocks: BlockMask | None = None,
    **unused: Any,
) -> tuple[torch.Tensor, None]:
    """Return scaled dot-product attention in the form transformers calls it: ([B, Q, H, D], no weights).

    The last of the Q queries sees all S keys; with Q < S (a key/value cache) the first sees S - Q + 1 of them.
    With `chunk_starts`, or with `blocks` (see `document_masks`), a query sees keys of its own chunk alone.
    """
    if blocks is not None:
        return _attention_by_blocks(query_BHQD, key_BKSD, value_BKSD, blocks, scaling), None
    queries, keys = query_BHQD.shape[2], key_BKSD.shape[2]
    is_grouped = query_BHQD.shape[1] != key_BKSD.shape[1]
    if chunk_starts is not None:
        options = {"dropout_p": dropout, "scale": scaling, "is_causal": True, "enable_gqa": is_grouped}
        out_BHQD = _attention_by_chunk(query_BHQD, key_BKSD, value_BKSD, chunk_starts, options)
        return out_BHQD.transpose(1, 2).contiguous(), None
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


def _attention_by_blocks(
    query_BHTD: torch.Tensor, key_BKTD: torch.Tensor, value_BKTD: torch.Tensor, blocks: BlockMask, scale: float | None
) -> torch.Tensor:
    is_grouped = query_BHTD.shape[1] != key_BKTD.shape[1]
    attend = compiled_flex_attention() if query_BHTD.is_cuda else flex_attention  # uncompiled it keeps all scores
    out_BHTD = attend(query_BHTD, key_BKTD, value_BKTD, block_mask=blocks, scale=scale, enable_gqa=is_grouped)
    return out_BHTD.transpose(1, 2).contiguous()


@cache
def compiled_flex_attention() -> Any:
    return torch.compile(flex_attention)


@torch.compiler.disable  # where chunks lie differs from step to step, and each would be compiled anew
def _attention_by_chunk(
    query_BHTD: torch.Tensor,
    key_BKTD: torch.Tensor,
    value_BKTD: torch.Tensor,
    chunk_starts: torch.Tensor,
    options: dict[str, Any],
) -> torch.Tensor:
    rows, _, width, _ = query_BHTD.shape
    chunks_by_row: list[list[torch.Tensor]] = [[] for _ in range(rows)]
    for start, end in pairwise([*chunk_starts.tolist(), rows * width]):
        row, begin = divmod(start, width)
        chunk = (slice(row, row + 1), slice(None), slice(begin, begin + end - start))
        out_1HCD = F.scaled_dot_product_attention(query_BHTD[chunk], key_BKTD[chunk], value_BKTD[chunk], **options)
        chunks_by_row[row].append(out_1HCD)
    return torch.cat([torch.cat(chunks, 2) for chunks in chunks_by_row])


def causal_mask(*, attention_mask: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor | None:
    """Return no mask, unless a 2-D padding mask hides some keys."""
    if attention_mask is None:
        return None
    return sdpa_mask(attention_mask=attention_mask, **kwargs)


AttentionInterface.register(FUSED_CAUSAL, causal_attention)
AttentionMaskInterface.register(FUSED_CAUSAL, causal_mask)
