import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from privllm.base.gguf_file import Opened, consistent, open_gguf
from privllm.base.gguf_folder import convert_gguf
from privllm.base.gguf_rotation import rope_parameters
from privllm.base.gguf_shape import Shape
from privllm.core.errors import UserError
from tests.base.gguf_changes import changed_model
from tests.export.gguf_models import change_json

COUNTS = {"max_position_embeddings": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}


def read(architecture: str, turned: int = 16, **scaling: Any) -> dict[str, Any]:
    """Return the rotary positions of a file that says so; keys have _ for a dot."""
    values = {f"{architecture}.rope.{key.replace('__', '.')}": value for key, value in scaling.items()}
    shape = Shape(COUNTS, 16, turned, False, False, True)
    with consistent(Path("m.gguf")):
        return rope_parameters(Opened(values, {}, architecture, "m.gguf"), shape)


def test_kinds_of_rotation() -> None:
    assert read("qwen3") == {"rope_type": "default", "rope_theta": 1e4}
    assert read("llama", freq_base=5e5, scaling__original_context_length=64)["rope_type"] == "default"
    linear = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
    assert read("llama", scaling__type="linear", scaling__factor=4.0) == linear
    assert read("llama", scaling__factor=4.0) == linear  # as llama.cpp takes it
    assert read("gpt2") == {}
    yarn = {"scaling__type": "yarn", "scaling__factor": 2.0, "scaling__original_context_length": 64}
    assert read("smollm3", **yarn, scaling__yarn_beta_fast=16.0) == {
        "rope_type": "yarn",
        "rope_theta": 1e4,
        "factor": 2.0,
        "original_max_position_embeddings": 64,
        "beta_fast": 16.0,
    }
    gemma = read("gemma3", freq_base=1e6, scaling__type="linear", scaling__factor=8.0)
    assert gemma["full_attention"] == {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0}
    assert gemma["sliding_attention"] == {"rope_type": "default", "rope_theta": 1e4}


@pytest.mark.parametrize(("head_size", "turned"), [(128, 96), (44, 30), (94, 6), (80, 32)])
def test_a_part_of_a_head_is_what_transformers_makes_of_the_share(head_size: int, turned: int) -> None:
    shape = Shape(COUNTS, head_size, turned, False, False, True)
    share = rope_parameters(Opened({}, {}, "phi3", "m.gguf"), shape)["partial_rotary_factor"]
    assert int(head_size * share) == turned
    assert share == pytest.approx(turned / head_size)


@pytest.mark.parametrize(
    ("architecture", "scaling", "said"),
    [
        ("llama", {"scaling__type": "longrope"}, "of the kind `longrope`, which is not read here for llama"),
        (
            "phi3",
            {"scaling__type": "yarn", "scaling__factor": 2.0},
            "of the kind `yarn`, which is not read here for phi3",
        ),
        ("phi3", {"scaling__type": "longrope"}, "factors of rotary frequencies that do not belong to"),
        ("llama", {"scaling__type": "yarn"}, r"does not say llama\.rope\.scaling\.factor"),
        ("llama", {"scaling__type": "linear", "scaling__factor": -1.0}, "factor is -1.0"),
        ("llama", {"freq_base": 0.0}, r"rope\.freq_base is 0.0"),
        ("gemma3", {"freq_base_swa": math.inf}, r"rope\.freq_base_swa is inf"),
        ("olmo2", {"scale_linear": 4.0}, r"scales positions by olmo2\.rope\.scale_linear = 4.0"),
        ("olmo2", {"scaling__attn_factor": 1.2}, r"scales positions by olmo2\.rope\.scaling\.attn_factor = 1.2"),
        (
            "qwen2",
            {"scaling__type": "yarn", "scaling__factor": 2.0, "scaling__yarn_log_multiplier": 0.1},
            "yarn_log_multiplier = 0.1, which is not read here",
        ),
        ("qwen2", {"scaling__alpha": 2.0}, r"qwen2\.rope\.scaling\.alpha = 2.0"),
    ],
)
def test_other_kinds_are_refused(architecture: str, scaling: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(architecture, **scaling)


SHORT, LONG = np.linspace(1, 1.5, 6, dtype=np.float32), np.linspace(1, 40, 6, dtype=np.float32)
FACTORS = {"rope_factors_short.weight": SHORT, "rope_factors_long.weight": LONG}
LONGROPE = {"phi3.rope.scaling.original_context_length": 32, "phi3.rope.dimension_count": 12}
USUAL = math.sqrt(1 + math.log(256 / 32) / math.log(32))


@pytest.mark.parametrize("attention", [USUAL, 1.5, None])
def test_longrope_of_phi_3_is_the_same_model(
    exported: Callable[..., Path], tmp_path: Path, attention: float | None
) -> None:
    values = LONGROPE | {"phi3.rope.scaling.attn_factor": attention}
    source = changed_model(exported(), tmp_path, "phi3", values=values, beside=FACTORS)
    convert_gguf(source, tmp_path / "back")
    rope: dict[str, Any] = {
        "rope_type": "longrope",
        "rope_theta": 5000.0,
        "short_factor": SHORT.tolist(),
        "long_factor": LONG.tolist(),
        "partial_rotary_factor": 0.75,
        "attention_factor": attention or 1.0,
    }
    change_json(tmp_path / "model/config.json", rope_parameters=rope, original_max_position_embeddings=32)
    for length in (30, 60):  # below and above what the model was first trained with
        logits = []
        for folder in ("model", "back"):
            model = AutoModelForCausalLM.from_pretrained(tmp_path / folder, dtype=torch.float32).eval()
            with torch.inference_mode():
                logits.append(model(torch.arange(7, 7 + length)[None]).logits)
        torch.testing.assert_close(logits[1], logits[0], rtol=1e-4, atol=1e-4)
    found = rope_parameters_of(source)
    assert ("attention_factor" in found) == (attention != USUAL)


def rope_parameters_of(path: Path) -> dict[str, Any]:
    opened = open_gguf(path)
    return rope_parameters(opened, Shape(COUNTS, 16, 12, False, False, False))


@pytest.mark.parametrize(
    ("kind", "values", "beside", "said"),
    [
        ("phi3", LONGROPE, {"rope_factors_short.weight": SHORT}, "do not belong to the kind `longrope`"),
        ("phi3", LONGROPE, FACTORS | {"rope_freqs.weight": SHORT}, "not read here for phi3|do not belong"),
        ("phi3", LONGROPE | {"phi3.rope.dimension_count": 8}, FACTORS, "holds 6 factors for 8 numbers"),
        ("phi3", {"phi3.rope.dimension_count": 12}, FACTORS, r"does not say phi3\.rope\.scaling\.original_context"),
        ("phi3", LONGROPE, FACTORS | {"rope_factors_long.weight": -LONG}, r"rope_factors_long\.weight is -1.0"),
        ("llama", {}, FACTORS, "of the kind `longrope`, which is not read here for llama"),
        ("llama", {}, {"rope_freqs.weight": np.zeros((2, 2), np.float32)}, "other than Llama 3's"),
        (
            "llama",
            {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 2.0},
            {"rope_freqs.weight": SHORT},
            "do not belong to the kind `linear`",
        ),
    ],
)
def test_factors_that_do_not_fit_are_refused(
    exported: Callable[..., Path],
    tmp_path: Path,
    kind: str,
    values: dict[str, Any],
    beside: dict[str, np.ndarray],
    said: str,
) -> None:
    source = changed_model(exported(), tmp_path, kind, values=values, beside=beside)
    with pytest.raises(UserError, match=said):
        convert_gguf(source, tmp_path / "back")
    assert not (tmp_path / "back").exists()
