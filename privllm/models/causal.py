"""The causal (autoregressive) language model: transformers' own Qwen3 class at the size that params.yaml asks for.

Building from the stock class keeps what we train loadable by anything that reads a Hugging Face folder. It
does not train, and it never downloads.

Shapes: B rows, T tokens, D width, V vocabulary.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

from privllm.core.families import CAUSAL
from privllm.core.seed import seed_of
from privllm.core.special_tokens import SpecialIds
from privllm.models.attention import FUSED_CAUSAL
from privllm.models.chunked_loss import cross_entropy, fits
from privllm.models.config import CausalConfig, inner_width
from privllm.models.document_masks import causal_blocks, chunk_starts
from privllm.models.family_model import FamilyModel
from privllm.models.vocabulary import IGNORED

BY_BLOCKS = {"cuda"}  # devices on which FlexAttention keeps documents apart
HeadLoss = Callable[[Tensor, Tensor, Tensor, str, float | None], Tensor]


def build_causal(cfg: CausalConfig, ids: SpecialIds, context: int, seed: int) -> Qwen3ForCausalLM:
    """Return a fresh model in fp32, initialised from `seed` alone (the global generator is left as it was)."""
    config = _transformers_config(cfg, ids, context)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("init", seed))
        model = Qwen3ForCausalLM._from_config(config, attn_implementation=FUSED_CAUSAL)
        _zero_branch_outputs(model)
    model.generation_config = GenerationConfig(bos_token_id=None, eos_token_id=ids.end, pad_token_id=ids.pad)
    return model


def head_loss(hidden_BTD: Tensor, weight_VD: Tensor, labels_BT: Tensor, reduction: str, cap: float | None) -> Tensor:
    """Return the cross-entropy of the logits hidden @ weight.T, bounded by `cap`, which a compiler need not keep."""
    logits_BTV = bounded(F.linear(hidden_BTD, weight_VD), cap)
    return F.cross_entropy(
        logits_BTV.flatten(0, 1).float(),
        labels_BT.flatten(),
        ignore_index=IGNORED,
        reduction=reduction,
    )


def next_token_loss(
    model: Any,
    batch: tuple[Tensor, ...],
    reduction: str,
    head: HeadLoss = head_loss,
) -> Tensor:
    """Return the loss on (inputs [B, T], positions [B, T], labels [B, T]); `head` may be a compiled `head_loss`.

    Positions that restart begin another chunk.
    """
    inputs_BT, positions_BT, labels_BT = batch
    packed = _packed(model, positions_BT)
    hidden_BTD = model.base_model(input_ids=inputs_BT, use_cache=False, **packed).last_hidden_state
    output = model.get_output_embeddings()
    # Adapters learn some of the head's rows, which its weight does not show.
    if type(output) is not torch.nn.Linear or not fits(labels_BT.numel(), model.config.vocab_size):
        return reply_loss(model, hidden_BTD.flatten(0, 1), labels_BT.flatten(), reduction)
    return head(hidden_BTD, output.weight, labels_BT, reduction, cap_of(model))


def _packed(model: Any, positions_BT: Tensor) -> dict[str, Any]:
    """Return what keeps tokens within their chunks: transformers masks by positions, and our attention by what it is given."""
    is_ours = model.config._attn_implementation == FUSED_CAUSAL
    if is_ours and positions_BT.device.type in BY_BLOCKS and _takes_blocks(model):
        return {"position_ids": positions_BT, "blocks": causal_blocks(positions_BT)}
    starts_C = chunk_starts(positions_BT)
    if starts_C is None:
        return {}
    packed = {"position_ids": positions_BT}
    return packed | {"chunk_starts": starts_C} if is_ours else packed


def _takes_blocks(model: Any) -> bool:
    """Return whether FlexAttention does what the model does: it drops no weights, and wants heads of 16 at least.

    Only while the model trains: a validation runs uncompiled, where it would keep all scores.
    """
    drops_weights = model.config.attention_dropout > 0
    return model.training and not drops_weights and model.config.head_dim >= 16


def reply_loss(model: Any, hidden_ND: Tensor, labels_N: Tensor, reduction: str) -> Tensor:
    """Return the loss of hidden states whose labels are known; logits that do not fit into memory are made in chunks."""
    return cross_entropy(partial(logits_of, model), hidden_ND, labels_N, model.config.vocab_size, reduction)


def logits_of(model: Any, hidden_ND: Tensor) -> Tensor:
    """Return the logits [N, V] of hidden states, as the model's own forward pass gives them."""
    return bounded(model.get_output_embeddings()(hidden_ND), cap_of(model))


def cap_of(model: Any) -> float | None:
    """Return the size that no logit of the model exceeds; None where there is no bound."""
    return getattr(model.config, "final_logit_softcapping", None)


def bounded(logits: Tensor, cap: float | None) -> Tensor:
    """Return logits that stay below `cap`, as Gemma 2's do (Gemma Team 2024, arXiv 2408.00118)."""
    return logits if cap is None else cap * torch.tanh(logits / cap)


def _transformers_config(cfg: CausalConfig, ids: SpecialIds, context: int) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=ids.size,
        hidden_size=cfg.width,
        intermediate_size=inner_width(cfg.feedforward, cfg.width),
        num_hidden_layers=cfg.layers,
        num_attention_heads=cfg.heads,
        num_key_value_heads=cfg.kv_heads or cfg.heads,
        head_dim=cfg.width // cfg.heads,
        max_position_embeddings=context,
        tie_word_embeddings=cfg.tie_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": cfg.rope_theta},
        bos_token_id=None,
        eos_token_id=ids.end,
        pad_token_id=ids.pad,
    )


@torch.no_grad()
def _zero_branch_outputs(model: PreTrainedModel) -> None:
    """Start every block as the identity: the last matrix of each branch is zero (Fixup, Zhang et al. 2019)."""
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()


CAUSAL_MODEL = FamilyModel(
    traits=CAUSAL,
    config=CausalConfig,
    build=build_causal,
    auto_class=AutoModelForCausalLM,
    loss=next_token_loss,
    dropout=("resid_pdrop", "embd_pdrop", "attn_pdrop"),
    fused_attention=frozenset({"qwen3"}),  # no sliding windows, no biases
)
