import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from gguf.quants import quantize
from safetensors.torch import load_file

from privllm.base.gguf_file import Opened, open_gguf
from privllm.base.gguf_folder import convert_gguf
from privllm.base.gguf_shape import shape_of
from privllm.base.gguf_weights import dtype_of, require_readable, write_weights
from privllm.core.errors import UserError
from privllm.export.gguf import write_gguf
from tests.base.gguf_changes import as_bf16, changed_model
from tests.export.gguf_models import tiny_model


@pytest.mark.parametrize(("kind", "name"), [("q8_0", "Q8_0"), ("q4_0", "Q4_0")])
def test_what_was_rounded_is_said(exported: Callable[..., Path], tmp_path: Path, kind: str, name: str) -> None:
    write_gguf(tiny_model(tmp_path / "model", "qwen3", exported()), kind, tmp_path / "m.gguf", "m")
    (note,) = convert_gguf(tmp_path / "m.gguf", tmp_path / "back").notes
    assert note.startswith(f"It was quantized: {name} (")
    weights = load_file(tmp_path / "back/model.safetensors")
    assert weights["model.layers.0.mlp.up_proj.weight"].dtype == torch.float16
    assert weights["model.norm.weight"].dtype == torch.float32


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("llama", "model.layers.0.self_attn.q_proj.weight"),
        ("gemma2", "model.layers.0.self_attn.q_proj.weight"),
        ("gpt2", "transformer.h.0.mlp.c_fc.weight"),
    ],
)
def test_bf16_stays_bf16(exported: Callable[..., Path], tmp_path: Path, kind: str, name: str) -> None:
    source = changed_model(exported(), tmp_path, kind, bf16=True)
    convert_gguf(source, tmp_path / "back")
    before, after = (load_file(tmp_path / folder / "model.safetensors") for folder in ("model", "back"))
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16, torch.float32}
    assert json.loads((tmp_path / "back/config.json").read_text("utf-8"))["dtype"] == "bfloat16"
    assert torch.equal(after[name], before[name].to(torch.bfloat16))


@pytest.mark.parametrize("packed", [False, True])
def test_norms_of_gemma_lose_the_one_whatever_they_are_written_in(
    exported: Callable[..., Path], tmp_path: Path, packed: bool
) -> None:
    numbers = np.linspace(0.5, 2, 64, dtype=np.float16)
    source = changed_model(exported(), tmp_path, "gemma2", beside={"output_norm.weight": numbers})
    opened = open_gguf(source)
    if packed:
        opened = as_bf16_here(opened, "output_norm.weight")
    write_weights(opened, shape_of(opened), tmp_path / "w.safetensors")
    norm = load_file(tmp_path / "w.safetensors")["model.norm.weight"]
    assert norm.dtype == torch.float32
    torch.testing.assert_close(norm, torch.tensor(numbers).float() - 1, rtol=0, atol=1e-2 if packed else 0)


def as_bf16_here(opened: Opened, name: str) -> Opened:
    return packed_here(opened, name, as_bf16(opened.weights[name].data), GGMLQuantizationType.BF16)


def packed_here(opened: Opened, name: str, numbers: np.ndarray, kind: GGMLQuantizationType) -> Opened:
    tensor = opened.weights[name]._replace(data=numbers, tensor_type=kind)
    return opened._replace(weights=opened.weights | {name: tensor})


def test_a_number_that_fp16_cannot_hold_is_refused(exported: Callable[..., Path], tmp_path: Path) -> None:
    opened = open_gguf(changed_model(exported(), tmp_path, "olmo2"))
    too_large = quantize(np.full((96, 64), 1e6, np.float32), GGMLQuantizationType.Q8_0)
    opened = packed_here(opened, "blk.0.ffn_up.weight", too_large, GGMLQuantizationType.Q8_0)
    with pytest.raises(UserError, match=r"a number in blk\.0\.ffn_up\.weight that fp16 cannot hold"):
        write_weights(opened, shape_of(opened), tmp_path / "w.safetensors")


def test_an_output_that_is_the_embedding_is_written_once(exported: Callable[..., Path], tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "tied", "gpt2", exported(), tie_word_embeddings=True)
    write_gguf(folder, "f16", tmp_path / "tied.gguf", "m")
    embedding = np.array(open_gguf(tmp_path / "tied.gguf").weights["token_embd.weight"].data)
    convert_gguf(changed_model(exported(), tmp_path, "gpt2", beside={"output.weight": embedding}), tmp_path / "back")
    assert json.loads((tmp_path / "back/config.json").read_text("utf-8"))["tie_word_embeddings"] is True
    assert "lm_head.weight" not in load_file(tmp_path / "back/model.safetensors")


def test_what_cannot_be_unpacked_is_refused_before_anything_is_written(
    exported: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf(tiny_model(tmp_path / "model", "phi3", exported()), "q8_0", tmp_path / "m.gguf", "m")

    def unknown(*_: object) -> np.ndarray:
        raise NotImplementedError

    monkeypatch.setattr("privllm.base.gguf_weights.dequantize", unknown)
    with pytest.raises(UserError, match="is quantized as Q8_0, which cannot be undone here"):
        require_readable(open_gguf(tmp_path / "m.gguf"))
    with pytest.raises(UserError, match="cannot be undone"):
        convert_gguf(tmp_path / "m.gguf", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_the_type_of_most_numbers_is_that_of_the_matrices(exported: Callable[..., Path], tmp_path: Path) -> None:
    for kind, dtype in (("f16", "float16"), ("q8_0", "float16")):
        write_gguf(tiny_model(tmp_path / kind, "gpt2", exported()), kind, tmp_path / f"{kind}.gguf", "m")
        assert dtype_of(open_gguf(tmp_path / f"{kind}.gguf")) == dtype
