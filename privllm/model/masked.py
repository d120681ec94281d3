"""The masked (autoencoding) language model: transformers' own ModernBERT class at the size that params.yaml asks for.

It reads a text in both directions and says what stood at the masked places (Devlin et al. 2018; Warner et al. 2024, arXiv 2412.13663).
What is masked, `masking` decides.
"""

from dataclasses import dataclass

import torch
from transformers import ModernBertConfig, ModernBertForMaskedLM

from privllm.core.params import require
from privllm.core.seed import seed_of
from privllm.model.special import END_OF_TEXT, PAD


@dataclass
class MaskedConfig:
    layers: int = 6  # blocks, 1-100
    width: int = 256  # of the residual stream; a multiple of 2 * heads
    heads: int = 4  # per block
    feedforward: int = 0  # inner width of the gated feed-forward part; 0 = 8/3 of width
    local_attention: int = 128  # tokens that a local block sees around each token, >= 2
    global_every: int = 3  # each such block, the first among them, sees the whole context, >= 1
    dropout: float = 0.0  # of embeddings, attention weights and feed-forward outputs while training, [0, 1)
    rope_theta: float = 10000.0  # base of the rotary position frequencies, > 1

    def __post_init__(self) -> None:
        require(1 <= self.layers <= 100, "model.layers", "between 1 and 100")
        require(self.heads >= 1 and self.width >= 2, "model.heads", "at least 1, and model.width at least 2")
        require(self.width % (2 * self.heads) == 0, "model.width", "a multiple of twice model.heads")
        require(self.feedforward >= 0, "model.feedforward", "0 or more")
        require(self.local_attention >= 2, "model.local_attention", "2 or more")
        require(self.global_every >= 1, "model.global_every", "1 or more")
        require(0 <= self.dropout < 1, "model.dropout", "at least 0 and below 1")
        require(self.rope_theta > 1, "model.rope_theta", "above 1")


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
