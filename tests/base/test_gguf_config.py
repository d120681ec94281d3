from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from privllm.base.gguf_config import CLASSES, config_of
from privllm.base.gguf_file import consistent, open_gguf
from privllm.base.gguf_shape import shape_of
from privllm.core.errors import UserError
from privllm.export.gguf import write_gguf
from privllm.export.gguf_layout import MODEL_TYPES
from tests.base.gguf_changes import changed_model
from tests.export.gguf_models import tiny_model


def config(path: Path) -> dict[str, Any]:
    opened = open_gguf(path)
    with consistent(path):
        return config_of(opened, shape_of(opened))


def test_every_architecture_that_is_written_is_read() -> None:
    assert set(CLASSES) == set(MODEL_TYPES.values())


def test_classes_are_those_of_transformers() -> None:
    """Its own table imports torch, and reading a file does not."""
    assert {kind: MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[kind] for kind in CLASSES} == CLASSES


# What our own file says and llama.cpp's own converter does not, for then it takes the same by itself.
NOT_SAID = {
    "gemma2": ("vocab_size", "rope.dimension_count"),
    "gemma3_text": ("vocab_size", "rope.dimension_count"),
    "gpt2": ("vocab_size", "attention.head_count_kv", *(f"attention.{of}_length" for of in ("key", "value"))),
    "olmo2": ("vocab_size", *(f"attention.{of}_length" for of in ("key", "value"))),
    "phi3": ("vocab_size", *(f"attention.{of}_length" for of in ("key", "value"))),
    "smollm3": (*(f"attention.{of}_length" for of in ("key", "value")),),
}


@pytest.mark.parametrize("kind", NOT_SAID)
def test_what_other_programs_leave_out_is_known(exported: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    architecture = kind.removesuffix("_text")
    left_out = {f"{architecture}.{key}": None for key in NOT_SAID[kind]}
    source = changed_model(exported(), tmp_path, kind, values=left_out)
    assert config(source) == config(tmp_path / "whole.gguf")


def test_gemma_2_has_limits_and_a_window_where_the_file_says_none(
    exported: Callable[..., Path], tmp_path: Path
) -> None:
    keys = ("attention.sliding_window", "attn_logit_softcapping", "final_logit_softcapping")
    source = changed_model(exported(), tmp_path, "gemma2", values={f"gemma2.{key}": None for key in keys})
    found = config(source)
    assert (found["sliding_window"], found["attn_logit_softcapping"], found["final_logit_softcapping"]) == (
        4096,
        50,
        30,
    )


@pytest.mark.parametrize(("kind", "blocks", "scalar"), [("gemma2", 46, 32), ("gemma2", 4, 16), ("gemma3_text", 62, 32)])
def test_the_largest_gemma_scales_its_attention_by_its_width(
    exported: Callable[..., Path], tmp_path: Path, kind: str, blocks: int, scalar: int
) -> None:
    shape = {"num_hidden_layers": blocks, "num_attention_heads": 2, "query_pre_attn_scalar": scalar}
    folder = tiny_model(tmp_path / "model", kind, exported(), **shape)
    write_gguf(folder, "f16", tmp_path / "m.gguf", "m")
    found = config(tmp_path / "m.gguf")
    assert (found["query_pre_attn_scalar"], found["head_dim"], found["hidden_size"]) == (scalar, 16, 64)


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        ("gemma2", {"gemma2.attn_logit_softcapping": 0.0}, "attn_logit_softcapping is 0.0"),
        ("gemma3_text", {"gemma3.attention.sliding_window": None}, r"does not say gemma3\.attention\.sliding_window"),
        ("gemma3_text", {"gemma3.attention.sliding_window": 0}, r"attention\.sliding_window is 0"),
        ("gemma3_text", {"gemma3.attention.sliding_window_pattern": 4}, r"another attention\.sliding_window_pattern"),
        ("olmo2", {"olmo2.attention.sliding_window": 4096}, "holds an OLMo 3, whose blocks look back 4096 tokens"),
        ("gpt2", {"gpt2.attention.layer_norm_epsilon": None}, r"does not say gpt2\.attention\.layer_norm_epsilon"),
        ("phi3", {"phi3.attention.layer_norm_rms_epsilon": 0.0}, "layer_norm_rms_epsilon is 0.0"),
    ],
)
def test_numbers_that_are_missing_or_mean_another_model_are_refused(
    exported: Callable[..., Path], tmp_path: Path, kind: str, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        config(changed_model(exported(), tmp_path, kind, values=values))
