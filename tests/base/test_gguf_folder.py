import json
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from privllm.base.gguf_folder import convert_gguf
from privllm.core.errors import UserError
from privllm.export.gguf import write_gguf
from tests.export.gguf_models import LLAMA3, tiny_model
from tests.export.nasty_texts import nasty_texts

LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0, "original_max_position_embeddings": 128}
LLAMA31 = LLAMA3 | {"original_max_position_embeddings": 8192}


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("qwen3", {}),
        ("qwen3", {"head_dim": 32, "tie_word_embeddings": True}),
        ("qwen2", {"rope_parameters": YARN}),
        ("llama", {"rope_parameters": LINEAR}),
        ("llama", {"rope_parameters": LLAMA31, "attention_bias": True, "mlp_bias": True}),
        ("mistral", {"sliding_window": None}),
    ],
)
def test_there_and_back_is_the_same_model(
    exported: Callable[..., Path], tmp_path: Path, kind: str, changes: dict[str, Any]
) -> None:
    folder = tiny_model(tmp_path / "model", kind, exported(), **changes)
    write_gguf(folder, "f16", tmp_path / "m.gguf", "m")
    assert convert_gguf(tmp_path / "m.gguf", tmp_path / "back").notes == []
    ids = torch.arange(7, 40)[None]
    logits = []
    for path in (folder, tmp_path / "back"):
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, local_files_only=True).eval()
        with torch.inference_mode():
            logits.append(model(ids).logits)
    assert (logits[0] - logits[1]).abs().max() < 0.02 * logits[0].abs().max()
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "back/model.safetensors")
    assert before.keys() == after.keys()
    for name, weights in before.items():
        expected = weights if weights.ndim == 1 else weights.half()
        assert torch.equal(after[name], expected), name


def test_ids_ends_and_template_survive(exported: Callable[..., Path], tmp_path: Path) -> None:
    folder = exported(tuned=True)
    write_gguf(folder, "q8_0", tmp_path / "m.gguf", "m")
    convert_gguf(tmp_path / "m.gguf", tmp_path / "back")
    before, after = (Tokenizer.from_file(str(path / "tokenizer.json")) for path in (folder, tmp_path / "back"))
    for text in nasty_texts():
        assert before.encode(text).ids == after.encode(text).ids
        assert before.decode(before.encode(text).ids) == after.decode(after.encode(text).ids)
    assert json.loads((tmp_path / "back/generation_config.json").read_text("utf-8"))["eos_token_id"] == [0, 5]
    messages = [{"role": "user", "content": "hi"}]
    rendered = [
        AutoTokenizer.from_pretrained(path, local_files_only=True).apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        for path in (folder, tmp_path / "back")
    ]
    assert rendered[0] == rendered[1] == "<|endoftext|><|user|>hi<|end|><|assistant|>"


@pytest.mark.parametrize(("kind", "name"), [("q8_0", "Q8_0"), ("q4_0", "Q4_0")])
def test_what_was_rounded_is_said(exported: Callable[..., Path], tmp_path: Path, kind: str, name: str) -> None:
    write_gguf(tiny_model(tmp_path / "model", "qwen3", exported()), kind, tmp_path / "m.gguf", "m")
    (note,) = convert_gguf(tmp_path / "m.gguf", tmp_path / "back").notes
    assert note.startswith(f"It was quantized: {name} (")
    weights = load_file(tmp_path / "back/model.safetensors")
    assert weights["model.layers.0.mlp.up_proj.weight"].dtype == torch.float16
    assert weights["model.norm.weight"].dtype == torch.float32


def test_bf16_stays_bf16(exported: Callable[..., Path], tmp_path: Path) -> None:
    source = changed(exported, tmp_path, bf16=True)
    convert_gguf(source, tmp_path / "back")
    weights = load_file(tmp_path / "back/model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16, torch.float32}
    assert json.loads((tmp_path / "back/config.json").read_text("utf-8"))["dtype"] == "bfloat16"
    assert weights["model.layers.0.self_attn.q_proj.weight"].float().std() == pytest.approx(0.3, rel=0.1)


def test_a_licence_is_handed_on(exported: Callable[..., Path], tmp_path: Path) -> None:
    source = changed(exported, tmp_path, values={"general.license": "apache-2.0"})
    assert convert_gguf(source, tmp_path / "back").licence == "apache-2.0"


def changed(
    exported: Callable[..., Path],
    tmp_path: Path,
    values: dict[str, Any] | None = None,
    without: str = "",
    beside: str = "",
    bf16: bool = False,
) -> Path:
    """A GGUF file that is changed: other values (None: none), a weight less, one more, or bf16."""
    from gguf import GGUFReader, GGUFValueType

    folder = tiny_model(tmp_path / "model", "llama", exported())
    write_gguf(folder, "f16", tmp_path / "whole.gguf", "m")
    reader = GGUFReader(tmp_path / "whole.gguf")
    values = values or {}
    writer = GGUFWriter(tmp_path / "m.gguf", values.get("general.architecture", "llama"))
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture" or name in values:
            continue
        sub_type = field.types[1] if len(field.types) > 1 else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type)
    for name, value in values.items():
        if name == "general.architecture" or value is None:
            continue
        kind = {str: GGUFValueType.STRING, int: GGUFValueType.UINT32, list: GGUFValueType.ARRAY}[type(value)]
        writer.add_key_value(name, value, kind)
    for tensor in reader.tensors:
        if tensor.name == without:
            continue
        if bf16 and len(tensor.shape) > 1:
            numbers = torch.tensor(np.array(tensor.data)).to(torch.bfloat16).view(torch.int16).numpy()
            raw = numbers.view(np.uint8).reshape(*tensor.data.shape[:-1], -1)
            writer.add_tensor(tensor.name, raw, raw_dtype=GGMLQuantizationType.BF16)
        else:
            writer.add_tensor(tensor.name, np.array(tensor.data))
    if beside:
        writer.add_tensor(beside, np.zeros((2, 2), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "m.gguf"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"values": {"general.architecture": "gemma3"}}, "architecture `gemma3`, which the build cannot train"),
        ({"values": {"llama.block_count": None}}, r"does not say llama\.block_count"),
        ({"values": {"llama.block_count": 1}}, r"has the weight blk\.1\."),
        ({"values": {"llama.block_count": 3}}, r"lacks the weight blk\.2\."),
        ({"values": {"llama.block_count": 2**31}}, "lacks the weights of most of its"),
        ({"values": {"llama.block_count": "two"}}, "contradicts itself"),
        ({"values": {"llama.attention.head_count": 0}}, "contradicts itself"),
        ({"values": {"llama.attention.head_count": 5122}}, "contradicts itself"),  # so heads have no width
        ({"values": {"llama.embedding_length": 65}}, "rows of another length"),
        ({"values": {"tokenizer.ggml.token_type": [1, 1]}}, "contradicts itself"),
        ({"values": {"llama.attention.value_length": 8}}, "heads of different sizes"),
        ({"values": {"llama.rope.scaling.type": "longrope"}}, "of the kind `longrope`"),
        ({"values": {"split.count": 3}}, "one of 3 parts"),
        ({"values": {"tokenizer.ggml.tokens": None}}, "has a tokenizer of the kind"),
        ({"values": {"tokenizer.ggml.model": "bert"}}, "tokenizer of the kind `bert`"),
        ({"values": {"tokenizer.ggml.pre": "chameleon"}}, "as `chameleon` does, which is not known here"),
        ({"without": "blk.0.ffn_up.weight"}, r"lacks the weight blk\.0\.ffn_up\.weight"),
        ({"without": "token_embd.weight"}, r"has no token_embd\.weight"),
        ({"beside": "blk.0.ffn_gate_inp.weight"}, r"has the weight blk\.0\.ffn_gate_inp"),
        ({"beside": "rope_freqs.weight"}, "other than Llama 3's"),
    ],
)
def test_what_is_not_known_is_refused(
    exported: Callable[..., Path], tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    source = changed(exported, tmp_path, **change)
    with pytest.raises(UserError, match=said):
        convert_gguf(source, tmp_path / "back")


@pytest.mark.parametrize("kept", [0, 3, 4, 20, 100, 5000, -1])
def test_a_file_that_is_cut_off_is_refused(exported: Callable[..., Path], tmp_path: Path, kept: int) -> None:
    write_gguf(exported(), "f16", tmp_path / "m.gguf", "m")
    whole = (tmp_path / "m.gguf").read_bytes()
    (tmp_path / "m.gguf").write_bytes(whole[: kept if kept >= 0 else -40])
    with pytest.raises(UserError, match="cannot be read as GGUF"):
        convert_gguf(tmp_path / "m.gguf", tmp_path / "back")


def test_no_damage_is_a_mistake_of_ours(exported: Callable[..., Path], tmp_path: Path) -> None:
    write_gguf(exported(), "f16", tmp_path / "m.gguf", "m")
    whole, chance = (tmp_path / "m.gguf").read_bytes(), random.Random(0)
    for _ in range(100):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(chance.choice([64, 800, 3000]))] = chance.choice(
                [0, 127, 255, chance.randrange(256)]
            )
        (tmp_path / "m.gguf").write_bytes(damaged)
        with suppress(UserError):
            convert_gguf(tmp_path / "m.gguf", tmp_path / "back")
