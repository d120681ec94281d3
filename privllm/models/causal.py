"""The causal (autoregressive) language model: transformers' own Qwen3 class at the size that params.yaml asks for.

Building from the stock class keeps what we train loadable by anything that reads a Hugging Face folder. It
does not train, and it never downloads.
"""

import torch
from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from privllm.core.seed import seed_of
from privllm.core.special_tokens import END_OF_TEXT, PAD
from privllm.models.attention import CAUSAL
from privllm.models.config import CausalConfig


def build_causal(cfg: CausalConfig, vocabulary: int, context: int, seed: int) -> Qwen3ForCausalLM:
    """A fresh model in fp32, initialised from `seed` alone (the global generator is left as it was)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("init", seed))
        model = Qwen3ForCausalLM._from_config(_transformers_config(cfg, vocabulary, context), attn_implementation=CAUSAL)
        _quiet_branches(model)
    model.generation_config = GenerationConfig(bos_token_id=None, eos_token_id=END_OF_TEXT, pad_token_id=PAD)
    return model


def _transformers_config(cfg: CausalConfig, vocabulary: int, context: int) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=cfg.width,
        intermediate_size=cfg.feedforward or cfg.width * 8 // 3,
        num_hidden_layers=cfg.layers,
        num_attention_heads=cfg.heads,
        num_key_value_heads=cfg.kv_heads or cfg.heads,
        head_dim=cfg.width // cfg.heads,
        max_position_embeddings=context,
        attention_dropout=cfg.attention_dropout,
        tie_word_embeddings=cfg.tie_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": cfg.rope_theta},
        bos_token_id=None,
        eos_token_id=END_OF_TEXT,
        pad_token_id=PAD,
    )


@torch.no_grad()
def _quiet_branches(model: Qwen3ForCausalLM) -> None:
    """Start every block as the identity: the last matrix of each branch is zero (Fixup, Zhang et al. 2019)."""
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
