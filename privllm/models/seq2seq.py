"""The hybrid (encoder-decoder) language model: transformers' own T5 class, version 1.1, at the size that params.yaml asks for.

The encoder reads a text in both directions, the decoder writes one token by token (Raffel et al. 2020, arXiv 1910.10683; Shazeer 2020,
arXiv 2002.05202, for the gated feed-forward part). Its vocabulary is the tokenizer's and, behind it, `SENTINELS` tokens that stand for
spans cut out of a text; `with_sentinels` adds them to the tokenizer that is exported with the model.
"""

import json

import torch
from transformers import GenerationConfig, T5Config, T5ForConditionalGeneration

from privllm.core.seed import seed_of
from privllm.core.special_tokens import END_OF_TEXT, PAD
from privllm.models.config import Seq2SeqConfig

SENTINELS = 100  # as T5 has
EMBEDDING = 0.02  # standard deviation of Qwen3's and ModernBERT's embeddings at the start


def build_seq2seq(cfg: Seq2SeqConfig, vocabulary: int, context: int, seed: int) -> T5ForConditionalGeneration:
    """A fresh model in fp32, initialised from `seed` alone (the global generator is left as it was)."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed_of("init", seed))
        model = T5ForConditionalGeneration(_transformers_config(cfg, vocabulary, context))
        for block in (*model.encoder.block, *model.decoder.block):  # every block starts as the identity, as in `causal`
            for part in block.layer[:-1]:
                (part.SelfAttention if hasattr(part, "SelfAttention") else part.EncDecAttention).o.weight.zero_()
            block.layer[-1].DenseReluDense.wo.weight.zero_()
        # T5 begins with embeddings of variance 1, which for blocks that are the identity means: sure that each token follows itself.
        # So they begin as large as gives logits of the causal family's size.
        model.shared.weight.mul_(EMBEDDING * cfg.width**0.5)
    model.generation_config = GenerationConfig(decoder_start_token_id=PAD, eos_token_id=END_OF_TEXT, pad_token_id=PAD)
    return model


def sentinel(vocabulary: int, number: int) -> int:
    """The id of the `number`-th sentinel of a model whose tokenizer has `vocabulary` ids."""
    assert 0 <= number < SENTINELS
    return vocabulary + number


def with_sentinels(tokenizer_json: str) -> str:
    """The same tokenizer with `<extra_id_0>` and so on as special tokens behind its last id."""
    parts = json.loads(tokenizer_json)
    size = 1 + max([*parts["model"]["vocab"].values(), *(token["id"] for token in parts["added_tokens"])])
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    parts["added_tokens"] += [{"id": size + number, "content": f"<extra_id_{number}>", **plain} for number in range(SENTINELS)]
    return json.dumps(parts, indent=1, ensure_ascii=False) + "\n"


def _transformers_config(cfg: Seq2SeqConfig, vocabulary: int, context: int) -> T5Config:
    config = T5Config(
        vocab_size=vocabulary + SENTINELS,
        d_model=cfg.width,
        d_kv=cfg.width // cfg.heads,
        d_ff=cfg.feedforward or cfg.width * 8 // 3,
        num_layers=cfg.encoder_layers,
        num_decoder_layers=cfg.decoder_layers,
        num_heads=cfg.heads,
        relative_attention_num_buckets=cfg.position_buckets,
        relative_attention_max_distance=cfg.position_distance,
        dropout_rate=cfg.dropout,
        feed_forward_proj="gated-gelu",
        pad_token_id=PAD,
        eos_token_id=END_OF_TEXT,
    )
    config.decoder_start_token_id = PAD
    config.n_positions = context  # T5 has no limit of its own; this is what it is trained on
    return config
