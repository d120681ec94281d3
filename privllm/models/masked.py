"""The masked (autoencoding) language model: transformers' own ModernBERT class at the size that params.yaml asks for.

It reads a text in both directions and predicts the masked tokens (Devlin et al. 2018; Warner et al. 2024,
arXiv 2412.13663). What is masked, `masking` decides. Where training begins with a model of others, that may be a BERT or a RoBERTa.

Shapes: B rows, T tokens, D width, N labels that count, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForMaskedLM, ModernBertConfig, ModernBertForMaskedLM

from privllm.core.families import MASKED
from privllm.core.seed import seed_of
from privllm.core.special_tokens import SpecialIds
from privllm.models.chunked_loss import cross_entropy
from privllm.models.config import MaskedConfig, inner_width
from privllm.models.document_masks import chunk_starts, chunks_of, is_near, same_chunk
from privllm.models.family_model import FamilyModel
from privllm.models.vocabulary import IGNORED

HEADS = ("cls", "lm_head")  # of BERT and of RoBERTa
COUNTS_FROM_PADDING = ("roberta", "xlm-roberta")


def build_masked(cfg: MaskedConfig, ids: SpecialIds, context: int, seed: int) -> ModernBertForMaskedLM:
    """Return a fresh model in fp32, initialised from `seed` alone (the global generator is left as it was)."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed_of("init", seed))
        model = ModernBertForMaskedLM(_transformers_config(cfg, ids, context))
        for layer in model.model.layers:  # every block starts as the identity, as in `causal`
            layer.attn.Wo.weight.zero_()
            layer.mlp.Wo.weight.zero_()
    return model


def masked_loss(model: Any, batch: tuple[Tensor, ...], reduction: str) -> Tensor:
    """Return the loss on (inputs [B, T], positions [B, T], labels [B, T]); positions that restart begin another chunk."""
    inputs_BT, positions_BT, labels_BT = batch
    packed: dict[str, Any] = {}
    if chunk_starts(positions_BT) is not None:  # without a mask, attention keeps its fast kernel
        numbered_BT = positions_BT + first_position(model.config)
        packed = {"position_ids": numbered_BT, "attention_mask": _masks(model.config, positions_BT)}
    hidden_BTD = model.base_model(input_ids=inputs_BT, **packed).last_hidden_state
    is_label_BT = labels_BT != IGNORED
    # The head is half the work, and 7 of 10 tokens need none.
    return cross_entropy(
        _head_of(model),
        hidden_BTD[is_label_BT],
        labels_BT[is_label_BT],
        model.config.vocab_size,
        reduction,
    )


def first_position(config: Any) -> int:
    """Return the number that a model gives to the first token: RoBERTa's count from behind that of its padding."""
    return config.pad_token_id + 1 if config.model_type in COUNTS_FROM_PADDING else 0


def _head_of(model: Any) -> Callable[[Tensor], Tensor]:
    """Return what makes logits [N, V] of hidden states [N, D], as the model's own class does."""
    for name in HEADS:
        if head := getattr(model, name, None):
            return head
    return lambda hidden_ND: model.decoder(model.head(hidden_ND))


def _masks(config: Any, positions_BT: Tensor) -> Tensor | dict[str, Tensor]:
    """Return the mask, of each type of layer where a model has several: the token's own chunk, all of it or what lies near."""
    chunks_BT = chunks_of(positions_BT)
    in_chunk = same_chunk(chunks_BT, chunks_BT)
    if not getattr(config, "layer_types", None):
        return in_chunk
    near = is_near(positions_BT.shape[1], config.sliding_window, positions_BT.device)
    return {"full_attention": in_chunk, "sliding_attention": in_chunk & near}


def _transformers_config(cfg: MaskedConfig, ids: SpecialIds, context: int) -> ModernBertConfig:
    layer_types = []
    for layer in range(cfg.layers):
        is_global = layer % cfg.global_every == 0
        layer_types.append("full_attention" if is_global else "sliding_attention")
    rope = {"rope_type": "default", "rope_theta": cfg.rope_theta}
    return ModernBertConfig(
        vocab_size=ids.size,
        hidden_size=cfg.width,
        intermediate_size=inner_width(cfg.feedforward, cfg.width),
        num_hidden_layers=cfg.layers,
        num_attention_heads=cfg.heads,
        max_position_embeddings=context,
        layer_types=layer_types,
        local_attention=cfg.local_attention,
        rope_parameters={"full_attention": dict(rope), "sliding_attention": dict(rope)},
        attention_dropout=cfg.dropout,
        embedding_dropout=cfg.dropout,
        mlp_dropout=cfg.dropout,
        classifier_pooling="mean",  # no text here begins with a token of its own for the whole
        pad_token_id=ids.pad,
        bos_token_id=ids.begin,
        eos_token_id=ids.end,
        cls_token_id=ids.begin,
        sep_token_id=ids.end,
        tie_word_embeddings=True,
    )


MASKED_MODEL = FamilyModel(
    traits=MASKED,
    config=MaskedConfig,
    build=build_masked,
    auto_class=AutoModelForMaskedLM,
    loss=masked_loss,
    dropout=(
        "attention_dropout",
        "embedding_dropout",
        "mlp_dropout",
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
    ),
)
