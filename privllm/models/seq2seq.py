"""The hybrid (encoder-decoder) language model: transformers' own T5 class, version 1.1, at the size that params.yaml asks for.

The encoder reads a text in both directions, the decoder writes one token by token (Raffel et al. 2020,
arXiv 1910.10683; Shazeer 2020, arXiv 2002.05202, for the gated feed-forward layers). Its vocabulary is the
tokenizer's and, behind it, sentinels, tokens that stand for spans cut out of a text; `with_sentinels` adds them
to the tokenizer that is exported with the model.

Shapes: B rows, S tokens that the encoder reads, L labels, V vocabulary.
"""

import json
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForSeq2SeqLM, GenerationConfig, T5Config, T5ForConditionalGeneration

from privllm.core.families import SEQ2SEQ
from privllm.core.seed import seed_of
from privllm.core.special_tokens import SENTINELS, SpecialIds
from privllm.models.config import Seq2SeqConfig, inner_width
from privllm.models.document_masks import same_chunk
from privllm.models.family_model import FamilyModel
from privllm.models.vocabulary import IGNORED

EMBEDDING = 0.02  # standard deviation of Qwen3's and ModernBERT's embeddings at the start


def build_seq2seq(cfg: Seq2SeqConfig, ids: SpecialIds, context: int, seed: int) -> T5ForConditionalGeneration:
    """Return a fresh model in fp32, initialised from `seed` alone (the global generator is left as it was)."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed_of("init", seed))
        model = T5ForConditionalGeneration(_transformers_config(cfg, ids, context))
        for block in (*model.encoder.block, *model.decoder.block):
            _zero_branch_outputs(block)
        # T5 begins with embeddings of variance 1. With blocks that are the identity this predicts with
        # certainty that each token follows itself, so they are scaled to give logits of the causal family's size.
        model.shared.weight.mul_(EMBEDDING * cfg.width**0.5)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=ids.pad, eos_token_id=ids.end, pad_token_id=ids.pad
    )
    return model


def _zero_branch_outputs(block: Any) -> None:
    """Start a block as the identity, as in `causal`."""
    *attention_layers, feed_forward = block.layer
    for layer in attention_layers:
        attention = layer.SelfAttention if hasattr(layer, "SelfAttention") else layer.EncDecAttention
        attention.o.weight.zero_()
    feed_forward.DenseReluDense.wo.weight.zero_()


def span_loss(model: Any, batch: tuple[Tensor, ...], reduction: str) -> Tensor:
    """Return the loss on (inputs [B, S], their chunks [B, S], decoder's inputs [B, L], their chunks [B, L], labels [B, L]).

    Encoder and decoder see a token's own chunk alone. T5's positions are distances, so they need not restart.
    """
    inputs_BS, chunks_BS, decoder_inputs_BL, decoder_chunks_BL, labels_BL = batch
    encoded = model.encoder(input_ids=inputs_BS, attention_mask=same_chunk(chunks_BS, chunks_BS))
    logits_BLV = model(
        encoder_outputs=encoded,
        attention_mask=same_chunk(decoder_chunks_BL, chunks_BS),
        decoder_input_ids=decoder_inputs_BL,
        decoder_attention_mask=same_chunk(decoder_chunks_BL, decoder_chunks_BL).tril(),
        use_cache=False,
    ).logits
    return F.cross_entropy(
        logits_BLV.flatten(0, 1).float(),
        labels_BL.flatten(),
        ignore_index=IGNORED,
        reduction=reduction,
    )


def with_sentinels(tokenizer_json: str) -> str:
    """Return the tokenizer with `<extra_id_0>` and so on as special tokens behind its last id, unless it has them."""
    tokenizer = json.loads(tokenizer_json)
    if any(token["content"] == "<extra_id_0>" for token in tokenizer["added_tokens"]):
        return tokenizer_json
    ids = [*tokenizer["model"]["vocab"].values(), *(token["id"] for token in tokenizer["added_tokens"])]
    first_id = 1 + max(ids)
    options = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    for number in range(SENTINELS):
        token = {"id": first_id + number, "content": f"<extra_id_{number}>"}
        tokenizer["added_tokens"].append(token | options)
    return json.dumps(tokenizer, indent=1, ensure_ascii=False) + "\n"


def _transformers_config(cfg: Seq2SeqConfig, ids: SpecialIds, context: int) -> T5Config:
    config = T5Config(
        vocab_size=max(ids.size, 1 + max(ids.sentinels)),
        d_model=cfg.width,
        d_kv=cfg.width // cfg.heads,
        d_ff=inner_width(cfg.feedforward, cfg.width),
        num_layers=cfg.encoder_layers,
        num_decoder_layers=cfg.decoder_layers,
        num_heads=cfg.heads,
        relative_attention_num_buckets=cfg.position_buckets,
        relative_attention_max_distance=cfg.position_distance,
        dropout_rate=cfg.dropout,
        feed_forward_proj="gated-gelu",
        pad_token_id=ids.pad,
        eos_token_id=ids.end,
    )
    config.decoder_start_token_id = ids.pad
    config.n_positions = context  # T5 has no limit of its own; this is what it is trained on
    return config


SEQ2SEQ_MODEL = FamilyModel(
    traits=SEQ2SEQ,
    config=Seq2SeqConfig,
    build=build_seq2seq,
    auto_class=AutoModelForSeq2SeqLM,
    loss=span_loss,
    dropout=("dropout_rate",),
    has_sentinels=True,
)
