import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.torch import load_file, save_file

from privllm.core.errors import UserError
from privllm.export.config import GGUF_TYPES, ExportConfig
from privllm.export.folder import ExportInputs, export, file_name, name_of
from privllm.export.gguf import write_gguf
from privllm.export.gguf_layout import halved, tensor_names
from tests.export.gguf_models import LLAMA3, change_json, tiny_model, types_of, values_of


def weights_in(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in GGUFReader(path).tensors}


def test_every_weight_of_our_own_model_arrives(exported: Callable[..., Path], tmp_path: Path) -> None:
    folder = exported()
    written = write_gguf(folder, "f16", tmp_path / "a.gguf", "handbook")
    source = load_file(folder / "model.safetensors")
    found = weights_in(tmp_path / "a.gguf")
    names = dict(tensor_names("qwen3", 2))
    assert {names[name] for name in found} == set(source)
    for name, weights in found.items():
        expected = source[names[name]].numpy()
        np.testing.assert_array_equal(weights, expected if expected.ndim == 1 else expected.astype(np.float16))
    assert written.parameters == sum(tensor.numel() for tensor in source.values())
    assert written.bytes == (tmp_path / "a.gguf").stat().st_size


def test_what_the_file_says_of_our_own_model(exported: Callable[..., Path], tmp_path: Path) -> None:
    write_gguf(exported(tuned=True), "q8_0", tmp_path / "a.gguf", "handbook")
    values = values_of(tmp_path / "a.gguf")
    expected = {
        "general.architecture": "qwen3",
        "general.name": "handbook",
        "general.file_type": 7,
        "qwen3.context_length": 96,
        "qwen3.embedding_length": 32,
        "qwen3.block_count": 2,
        "qwen3.attention.head_count": 4,
        "qwen3.attention.head_count_kv": 2,
        "qwen3.attention.key_length": 8,
        "qwen3.attention.value_length": 8,
        "qwen3.rope.dimension_count": 8,
        "qwen3.rope.freq_base": 10000.0,
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.eot_token_id": 5,
        "tokenizer.ggml.padding_token_id": 1,
        "tokenizer.ggml.add_bos_token": False,
    }
    assert {key: values[key] for key in expected} == expected
    assert values["tokenizer.chat_template"].startswith("{{ bos_token }}")
    assert not any("date" in key or "uuid" in key for key in values)


@pytest.mark.parametrize("kind", GGUF_TYPES)
def test_the_same_bytes_twice(exported: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    for name in "ab":
        write_gguf(exported(), kind, tmp_path / name / "m.gguf", "handbook")
    for name in ("m.gguf", "m.Modelfile"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["m.Modelfile", "m.gguf"]


@pytest.mark.parametrize(("kind", "matrix", "error"), [("q8_0", "Q8_0", 0.01), ("q4_0", "Q4_0", 0.15)])
def test_matrices_are_quantized_and_norms_are_not(
    exported: Callable[..., Path], tmp_path: Path, kind: str, matrix: str, error: float
) -> None:
    folder = tiny_model(tmp_path / "model", "qwen3", exported())
    write_gguf(folder, kind, tmp_path / "a.gguf", "m")
    types = types_of(tmp_path / "a.gguf")
    assert types["blk.0.ffn_up.weight"] == types["token_embd.weight"] == matrix
    assert types["output.weight"] == "Q8_0"
    assert types["blk.0.attn_norm.weight"] == types["blk.1.attn_q_norm.weight"] == "F32"
    source = load_file(folder / "model.safetensors")["model.layers.0.mlp.up_proj.weight"].numpy()
    off = np.abs(weights_in(tmp_path / "a.gguf")["blk.0.ffn_up.weight"] - source)
    assert 0 < off.max() < error * np.abs(source).max()


def test_a_tied_matrix_is_written_once_and_never_below_eight_bits(
    exported: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tiny_model(tmp_path / "model", "qwen2", exported(), tie_word_embeddings=True)
    write_gguf(folder, "q4_0", tmp_path / "a.gguf", "m")
    types = types_of(tmp_path / "a.gguf")
    assert types["token_embd.weight"] == "Q8_0"
    assert "output.weight" not in types
    assert types["blk.0.attn_q.bias"] == "F32"


def test_rows_of_other_lengths_stay_f16_and_that_is_said(exported: Callable[..., Path], tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model", "llama", exported(), intermediate_size=72)
    written = write_gguf(folder, "q8_0", tmp_path / "a.gguf", "m")
    types = types_of(tmp_path / "a.gguf")
    assert types["blk.0.ffn_down.weight"] == types["blk.1.ffn_down.weight"] == "F16"
    assert any(note.startswith("2 matrices stay f16") for note in written.notes)


@pytest.mark.parametrize("kind", ["llama", "mistral"])
def test_queries_and_keys_of_llama_change_places(exported: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    folder = tiny_model(tmp_path / "model", kind, exported())
    write_gguf(folder, "f16", tmp_path / "a.gguf", "m")
    assert values_of(tmp_path / "a.gguf")["general.architecture"] == "llama"
    source, found = load_file(folder / "model.safetensors"), weights_in(tmp_path / "a.gguf")
    for part, heads in (("q", 4), ("k", 2)):
        expected = source[f"model.layers.0.self_attn.{part}_proj.weight"].numpy().astype(np.float16)
        weights = found[f"blk.0.attn_{part}.weight"]
        assert not np.array_equal(weights, expected)
        np.testing.assert_array_equal(halved(weights, heads), expected)


def test_llama3_has_a_factor_for_each_frequency(exported: Callable[..., Path], tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model", "llama", exported(), rope_parameters=LLAMA3)
    write_gguf(folder, "f16", tmp_path / "a.gguf", "m")
    factors = weights_in(tmp_path / "a.gguf")["rope_freqs.weight"]
    assert factors.shape == (8,)
    assert factors[0] == 1
    assert factors[-1] == 8


def test_several_files_of_weights_and_bf16(exported: Callable[..., Path], tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model", "qwen3", exported())
    write_gguf(folder, "f16", tmp_path / "one.gguf", "m")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    rounded = {name: weights[name].to(torch.bfloat16) for name in names}
    save_file({name: rounded[name] for name in names[:5]}, folder / "model-00001-of-00002.safetensors")
    save_file({name: rounded[name] for name in names[5:]}, folder / "model-00002-of-00002.safetensors")
    write_gguf(folder, "f16", tmp_path / "two.gguf", "m")
    one, two = weights_in(tmp_path / "one.gguf"), weights_in(tmp_path / "two.gguf")
    assert one.keys() == two.keys()
    np.testing.assert_allclose(two["blk.0.ffn_up.weight"], one["blk.0.ffn_up.weight"], rtol=1e-2, atol=1e-3)


def test_a_window_that_llama_cpp_does_not_know_is_said(exported: Callable[..., Path], tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model", "mistral", exported(), sliding_window=64)
    assert any("64 tokens" in note for note in write_gguf(folder, "f16", tmp_path / "a.gguf", "m").notes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "gpt_neox"}, "holds a gpt_neox model; only qwen3, qwen2, llama, mistral"),
        ({"model_type": "t5"}, "holds a t5 model of the seq2seq family"),
        ({"hidden_act": "gelu"}, "activation `gelu`"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantized weights"),
        ({"num_hidden_layers": 3}, "transformers cannot read"),
        ({"num_hidden_layers": 3, "layer_types": None}, r"lacks the weight model\.layers\.2\."),
        ({"num_hidden_layers": 1, "layer_types": None}, r"has the weight model\.layers\.1\."),
        ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "of the kind `dynamic`"),
    ],
)
def test_what_cannot_be_written_is_said(
    exported: Callable[..., Path], tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    folder = tiny_model(tmp_path / "model", "qwen3", exported())
    change_json(folder / "config.json", **changes)
    with pytest.raises(UserError, match=said):
        write_gguf(folder, "f16", tmp_path / "a.gguf", "m")
    assert not list(tmp_path.glob("a*"))


def test_what_is_no_model_is_said(exported: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder"):
        write_gguf(tmp_path / "nowhere", "f16", tmp_path / "a.gguf", "m")
    with pytest.raises(UserError, match="holds no trained model"):
        write_gguf(tmp_path, "f16", tmp_path / "a.gguf", "m")
    folder = tiny_model(tmp_path / "model", "qwen3", exported())
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-9])
    with pytest.raises(UserError, match="damaged or not whole"):
        write_gguf(folder, "f16", tmp_path / "a.gguf", "m")
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"holds no tokenizer\.json"):
        write_gguf(folder, "f16", tmp_path / "a.gguf", "m")


@pytest.mark.parametrize("number", [70_000.0, float("nan")])
def test_a_number_that_fp16_cannot_hold_leaves_no_file(
    exported: Callable[..., Path], tmp_path: Path, number: float
) -> None:
    folder = tiny_model(tmp_path / "model", "qwen3", exported())
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][0, 0] = number
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(UserError, match="fp16 cannot hold"):
        write_gguf(folder, "q8_0", tmp_path / "a.gguf", "m")
    assert not list(tmp_path.glob("a*"))


def test_a_build_writes_the_types_that_its_parameters_name(export_inputs: ExportInputs, tmp_path: Path) -> None:
    cfg = ExportConfig(name="Hand book", gguf=["q8_0", "f16"])
    export(cfg, export_inputs, "causal", tmp_path)
    assert sorted(path.name for path in tmp_path.glob("Hand*")) == [
        "Hand-book-f16.Modelfile",
        "Hand-book-f16.gguf",
        "Hand-book-q8_0.Modelfile",
        "Hand-book-q8_0.gguf",
    ]
    assert values_of(tmp_path / "Hand-book-q8_0.gguf")["general.name"] == "Hand book"


def test_other_families_have_no_such_file(export_inputs: ExportInputs, tmp_path: Path) -> None:
    masked = ExportInputs(export_inputs.model.parent / "masked", export_inputs.tokenizer, export_inputs.documents)
    export(ExportConfig(gguf=["f16"]), masked, "masked", tmp_path)
    assert not list(tmp_path.glob("*.gguf"))


def test_a_type_that_there_is_not_is_refused() -> None:
    with pytest.raises(UserError, match=r"export\.gguf.*f16, q8_0, q4_0"):
        ExportConfig(gguf=["q8"])


@pytest.mark.parametrize(("name", "plain"), [("a b/c", "a-b-c"), ("..", "model"), ("é", "model"), ("x.y", "x.y")])
def test_names_of_files_need_no_quotes(name: str, plain: str) -> None:
    assert file_name(name, "f16") == f"{plain}-f16.gguf"


def test_a_model_is_named_as_the_build_named_it(exported: Callable[..., Path], tmp_path: Path) -> None:
    assert name_of(exported()) == json.loads((exported() / "provenance.json").read_text("utf-8"))["name"]
    (tmp_path / "other").mkdir()
    assert name_of(tmp_path / "other") == "other"


STOPPED = """
import sys, time
from pathlib import Path
import privllm.export.gguf as gguf
convert = gguf._converted
def slowly(*weight):
    print("writing", flush=True)
    time.sleep(60)
    return convert(*weight)
gguf._converted = slowly
gguf.write_gguf(Path(sys.argv[1]), "f16", Path(sys.argv[2]), "m")
"""


@pytest.mark.slow
def test_ctrl_c_leaves_what_was_there(exported: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "a.gguf"
    out.write_bytes(b"before")
    command = [sys.executable, "-c", STOPPED, str(exported()), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
    assert process.returncode
    assert [path.name for path in tmp_path.iterdir()] == ["a.gguf"]
    assert out.read_bytes() == b"before"
