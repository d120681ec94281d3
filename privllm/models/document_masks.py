"""Document masks: in a row of several documents' chunks, a token attends to its own chunk alone.

No row holds two chunks of one document. Shapes: B rows, T tokens, Q queries, K keys, C chunks of a batch.
"""

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask


def chunks_of(positions_BT: Tensor) -> Tensor:
    """Return the number of each token's chunk in its row, from 1: int64 [B, T]; `positions_BT` are 0 where one begins."""
    return (positions_BT == 0).cumsum(1)


def chunk_starts(positions_BT: Tensor) -> Tensor | None:
    """Return where chunks begin, counted over the whole batch: int64 [C], on the CPU.

    It is None where each row is one chunk, which needs no mask.
    """
    starts_C = (positions_BT == 0).flatten().nonzero().flatten().cpu()
    return None if len(starts_C) == len(positions_BT) else starts_C


def causal_blocks(positions_BT: Tensor) -> BlockMask:
    """Return the causal mask within chunks as FlexAttention takes it; nothing is read back from the device."""
    chunks_BT = chunks_of(positions_BT)
    rows, width = positions_BT.shape

    def is_visible(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (chunks_BT[row, query] == chunks_BT[row, key])

    return create_block_mask(is_visible, rows, None, width, width, device=positions_BT.device)


def same_chunk(queries_BQ: Tensor, keys_BK: Tensor) -> Tensor:
    """Return which keys a query may attend to, by the numbers of their chunks: bool [B, 1, Q, K]."""
    return queries_BQ[:, None, :, None] == keys_BK[:, None, None, :]


def is_near(width: int, window: int, device: torch.device) -> Tensor:
    """Return which of `width` places are at most `window` apart: bool [T, T]."""
    places_T = torch.arange(width, device=device)
    return (places_T[:, None] - places_T[None, :]).abs() <= window
