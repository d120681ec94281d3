import json
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from privllm.base.gguf_folder import convert_gguf
from privllm.core.errors import UserError
from privllm.export.gguf import write_gguf
from privllm.export.gguf_layout import ARCHITECTURES
from tests.base.gguf_changes import changed_model
from tests.export.gguf_models import LLAMA3, tiny_model
from tests.export.nasty_texts import nasty_texts
from tests.export.test_gguf_vocabulary import folder_of, pieces

LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0, "original_max_position_embeddings": 128}
LLAMA31 = LLAMA3 | {"original_max_position_embeddings": 8192}
NEAR = {"rope_type": "default", "rope_theta": 2000.0}
# What the file has no room for, or says in other words that mean the same.
NOT_THERE = {"dtype", "_name_or_path", "architectures", "transformers_version", "bos_token_id", "pad_token_id"}
SAID_OTHERWISE = {
    "gpt2": {"n_inner"},  # None is four times the width
    "phi3": {"head_dim", "original_max_position_embeddings"},  # of no effect here
    "mistral": {"model_type", "pretraining_tp", "mlp_bias", "attention_bias", "sliding_window"},
}


def logits_of(folder: Path, **options: Any) -> torch.Tensor:
    """What transformers computes in fp32 on a row of ids."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True, **options).eval()
    with torch.inference_mode():
        return model(torch.arange(7, 60)[None]).logits


def settings_of(folder: Path, kind: str) -> dict[str, Any]:
    """What transformers takes of a config.json, but for what may differ."""
    settings = AutoConfig.from_pretrained(folder, local_files_only=True).to_dict()
    for name in NOT_THERE | SAID_OTHERWISE.get(kind, set()):
        settings.pop(name, None)
    rope = settings.get("rope_parameters") or {}
    if rope.get("partial_rotary_factor") == 1:
        del rope["partial_rotary_factor"]
    return settings


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        *((kind, {}) for kind in ARCHITECTURES if kind != "mistral"),
        ("mistral", {"sliding_window": None}),
        ("qwen3", {"head_dim": 32, "tie_word_embeddings": True}),
        ("qwen3", {"attention_bias": True}),
        ("qwen2", {"rope_parameters": YARN}),
        ("llama", {"rope_parameters": LINEAR}),
        ("llama", {"rope_parameters": LLAMA31, "attention_bias": True, "mlp_bias": True}),
        ("smollm3", {"rope_parameters": YARN, "tie_word_embeddings": True}),
        ("gemma2", {"head_dim": 32, "query_pre_attn_scalar": 32, "attn_logit_softcapping": 3.0}),
        ("gemma3_text", {"rope_parameters": {"sliding_attention": NEAR, "full_attention": LINEAR}}),
        ("gemma3_text", {"final_logit_softcapping": 20.0, "tie_word_embeddings": True}),
        ("phi3", {"sliding_window": 12}),
        ("olmo2", {"rope_parameters": LLAMA31, "tie_word_embeddings": True}),
        ("gpt2", {"tie_word_embeddings": True, "n_inner": 96, "layer_norm_epsilon": 1e-6}),
    ],
)
def test_there_and_back_is_the_same_model(
    exported: Callable[..., Path], tmp_path: Path, kind: str, changes: dict[str, Any]
) -> None:
    folder = tiny_model(tmp_path / "model", kind, exported(), **changes)
    write_gguf(folder, "f16", tmp_path / "m.gguf", "m")
    assert convert_gguf(tmp_path / "m.gguf", tmp_path / "back").notes == []
    assert settings_of(tmp_path / "back", kind) == settings_of(folder, kind)
    torch.testing.assert_close(logits_of(tmp_path / "back"), logits_of(folder), rtol=1e-5, atol=1e-5)
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "back/model.safetensors")
    assert before.keys() == after.keys()
    for name, weights in before.items():
        torch.testing.assert_close(after[name].float(), weights, rtol=0, atol=1e-7)


# {architecture: what transformers' own reader takes for granted, so that it reads the same model}
TAKEN_FOR_GRANTED: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 128},
    "gemma2": {"head_dim": 256, "query_pre_attn_scalar": 256},
    "gemma3_text": {
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "tie_word_embeddings": True,
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            "full_attention": {"rope_type": "default", "rope_theta": 1e6},
        },
    },
    "phi3": {"rows": 32_001},
    "gpt2": {"max_position_embeddings": 1024, "tie_word_embeddings": True},
}


@pytest.mark.parametrize("kind", TAKEN_FOR_GRANTED)
def test_transformers_reads_the_same_model(exported: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    folder = tiny_model(tmp_path / "model", kind, exported(), **TAKEN_FOR_GRANTED[kind])
    write_gguf(folder, "f16", tmp_path / "m.gguf", "m")
    convert_gguf(tmp_path / "m.gguf", tmp_path / "back")
    theirs = logits_of(tmp_path, gguf_file="m.gguf")
    torch.testing.assert_close(logits_of(tmp_path / "back"), theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", TAKEN_FOR_GRANTED)
def test_transformers_reads_the_same_rounded_numbers(exported: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    folder = tiny_model(tmp_path / "model", kind, exported(), **TAKEN_FOR_GRANTED[kind])
    write_gguf(folder, "q8_0", tmp_path / "m.gguf", "m")
    convert_gguf(tmp_path / "m.gguf", tmp_path / "back")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="m.gguf", dtype=torch.float32).state_dict()
    for name, weights in load_file(tmp_path / "back/model.safetensors").items():
        assert torch.equal(weights, theirs[name].to(weights.dtype)), name


@pytest.mark.parametrize("kind", ["smollm3", "gemma2", "gemma3_text", "phi3", "olmo2", "gpt2"])
def test_rounded_numbers_are_nearly_the_same_model(exported: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    folder = tiny_model(tmp_path / "model", kind, exported())
    write_gguf(folder, "q8_0", tmp_path / "m.gguf", "m")
    (note,) = convert_gguf(tmp_path / "m.gguf", tmp_path / "back").notes
    assert note.startswith("It was quantized: Q8_0 (")
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "back/model.safetensors")
    assert before.keys() == after.keys()
    for name, weights in before.items():
        assert (after[name].float() - weights).abs().max() <= 0.005 * weights.abs().max(), name


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


@pytest.mark.parametrize("kind", ["gemma2", "gemma3_text", "phi3"])
def test_a_sentencepiece_survives_where_it_is_usual(exported: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    tokenizer = folder_of(pieces(), tmp_path / "t", bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    write_gguf(tiny_model(tmp_path / "model", kind, tokenizer), "f16", tmp_path / "m.gguf", "m")
    convert_gguf(tmp_path / "m.gguf", tmp_path / "back")
    after = AutoTokenizer.from_pretrained(tmp_path / "back", local_files_only=True)
    for text in [*nasty_texts(), "ab aba  ab", "<s>ab</s> ab"]:
        assert after(text)["input_ids"] == pieces().encode(text).ids, text
    assert (after.bos_token, after.eos_token) == ("<s>", "</s>")
    config = json.loads((tmp_path / "back/config.json").read_text("utf-8"))
    assert (config["bos_token_id"], config["pad_token_id"]) == (1, None)


def test_a_licence_is_handed_on(exported: Callable[..., Path], tmp_path: Path) -> None:
    source = changed_model(exported(), tmp_path, values={"general.license": "apache-2.0"})
    assert convert_gguf(source, tmp_path / "back").licence == "apache-2.0"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"tokenizer.ggml.token_type": [1, 1]}, "contradicts itself"),
        ({"tokenizer.ggml.tokens": None}, "has a tokenizer of the kind"),
        ({"tokenizer.ggml.tokens": [str(number) for number in range(400)]}, "has 400 tokens, but only 384 rows"),
        ({"tokenizer.ggml.model": "bert"}, "tokenizer of the kind `bert`"),
        ({"tokenizer.ggml.pre": "chameleon"}, "as `chameleon` does, which is not known here"),
    ],
)
def test_a_tokenizer_that_is_not_known_is_refused(
    exported: Callable[..., Path], tmp_path: Path, values: dict[str, Any], said: str
) -> None:
    source = changed_model(exported(), tmp_path, values=values)
    with pytest.raises(UserError, match=said):
        convert_gguf(source, tmp_path / "back")
    assert not list(tmp_path.glob("back/*"))


@pytest.mark.parametrize("kept", [0, 3, 4, 20, 100, 5000, -1])
def test_a_file_that_is_cut_off_is_refused(exported: Callable[..., Path], tmp_path: Path, kept: int) -> None:
    write_gguf(exported(), "f16", tmp_path / "m.gguf", "m")
    whole = (tmp_path / "m.gguf").read_bytes()
    (tmp_path / "m.gguf").write_bytes(whole[: kept if kept >= 0 else -40])
    with pytest.raises(UserError, match="cannot be read as GGUF"):
        convert_gguf(tmp_path / "m.gguf", tmp_path / "back")


@pytest.mark.parametrize("kind", ["", "gemma3_text", "phi3", "gpt2"])
def test_no_damage_is_a_mistake_of_ours(exported: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    folder = tiny_model(tmp_path / "model", kind, exported()) if kind else exported()
    write_gguf(folder, "f16", tmp_path / "m.gguf", "m")
    whole, chance = (tmp_path / "m.gguf").read_bytes(), random.Random(0)
    for _ in range(50):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(chance.choice([64, 800, 3000]))] = chance.choice(
                [0, 127, 255, chance.randrange(256)]
            )
        (tmp_path / "m.gguf").write_bytes(damaged)
        with suppress(UserError):
            convert_gguf(tmp_path / "m.gguf", tmp_path / "back")
        shutil.rmtree(tmp_path / "back", ignore_errors=True)
