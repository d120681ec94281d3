"""The masked (autoencoding) language model: transformers' own ModernBERT class at the size that params.yaml asks for.

It reads a text in both directions and says what stood at the masked places (Devlin et al. 2018; Warner et al. 2024, arXiv 2412.13663).
What is masked, `masking` decides.
"""

import torch
from transformers import ModernBertConfig, ModernBertForMaskedLM

from privllm.core.seed import seed_of
from privllm.core.special_tokens import END_OF_TEXT, PAD
from privllm.models.config import MaskedConfig


def build_masked(cfg: MaskedConfig, vocabulary: int, context: int, seed: int) -> ModernBertForMaskedLM:
    """A fresh model in fp32, initialised from `seed` alone (the global generator is left as it was)."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed_of("init", seed))
        model = ModernBertForMaskedLM(_transformers_config(cfg, vocabulary, context))
        for layer in model.model.layers:  # every block starts as the identity, as in `causal`
            layer.attn.Wo.weight.zero_()
            layer.mlp.Wo.weight.zero_()
    return model


def _transformers_config(cfg: MaskedConfig, vocabulary: int, context: int) -> ModernBertConfig:
    kinds = ["full_attention" if layer % cfg.global_every == 0 else "sliding_attention" for layer in range(cfg.layers)]
    rope = {"rope_type": "default", "rope_theta": cfg.rope_theta}
    return ModernBertConfig(
        vocab_size=vocabulary,
        hidden_size=cfg.width,
        intermediate_size=cfg.feedforward or cfg.width * 8 // 3,
        num_hidden_layers=cfg.layers,
        num_attention_heads=cfg.heads,
        max_position_embeddings=context,
        layer_types=kinds,
        local_attention=cfg.local_attention,
        rope_parameters={kind: dict(rope) for kind in ("full_attention", "sliding_attention")},
        attention_dropout=cfg.dropout,
        embedding_dropout=cfg.dropout,
        mlp_dropout=cfg.dropout,
        classifier_pooling="mean",  # no text here begins with a token of its own for the whole
        pad_token_id=PAD,
        bos_token_id=END_OF_TEXT,
        eos_token_id=END_OF_TEXT,
        cls_token_id=END_OF_TEXT,
        sep_token_id=END_OF_TEXT,
        tie_word_embeddings=True,
    )
