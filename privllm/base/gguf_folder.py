"""A GGUF file as a Hugging Face folder: its numbers as fp16, its names and its shape as transformers has them.

    NAME.gguf  ->  config.json  model.safetensors  tokenizer.json  tokenizer_config.json  chat_template.jinja  generation_config.json

Weights are converted one at a time. What a quantized file has rounded stays rounded; fp16, bf16 and fp32 are kept as they are.
"""

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, ReaderTensor
from gguf.quants import dequantize

from privllm.base.gguf_tokenizer import write_tokenizer
from privllm.base.safetensors_file import Entry, write_safetensors
from privllm.core.errors import UserError
from privllm.core.progress import bar
from privllm.core.report import write_json
from privllm.export.gguf_layout import (
    BASE,
    COUNTS,
    EMBEDDING,
    EPSILON,
    FREQUENCIES,
    HEAD_SIZES,
    OUTPUT,
    SCALING,
    halved,
    heads_of_pairs,
    llama3_factors,
    required_names,
    tensor_names,
)

Type = GGMLQuantizationType
KEPT = {Type.F32: "F32", Type.F16: "F16", Type.BF16: "BF16"}
DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
CLASSES = {"qwen3": "Qwen3ForCausalLM", "qwen2": "Qwen2ForCausalLM", "llama": "LlamaForCausalLM"}
# What Llama 3.1 and all after it have: `factor` differs, and the file holds only what follows from it.
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


class Opened(NamedTuple):
    """What a GGUF file says."""

    values: dict[str, Any]  # by key
    weights: dict[str, ReaderTensor]
    architecture: str
    where: str

    def value(self, key: str) -> Any:
        """Return a value of the architecture. Raises UserError where the file lacks it."""
        whole = f"{self.architecture}.{key}"
        if whole not in self.values:
            raise UserError(f"{self.where} does not say {whole}: it is no whole model.")
        return self.values[whole]


class Converted(NamedTuple):
    """What to say of a model that was converted."""

    notes: list[str]  # what was lost
    licence: str  # "" where the file names none


@contextmanager
def _consistent(path: Path) -> Iterator[None]:
    """Raise UserError for numbers of the file that do not fit together."""
    try:
        yield
    except UserError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, MemoryError) as error:
        raise UserError(
            f"{path} contradicts itself ({error!r}): it is damaged, or made by a program that is broken."
        ) from error


def convert_gguf(path: Path, out: Path) -> Converted:
    """Write the model in the GGUF file `path` to the folder `out`.

    Raises UserError for a file that is damaged, or of a kind that is not known here.
    """
    opened = _open(path)
    out.mkdir(parents=True, exist_ok=True)
    with _consistent(path):
        config = _config(opened)
        ends = write_tokenizer(opened.values, out, opened.where)
    tokens = opened.values.get("tokenizer.ggml.tokens") or []
    if len(tokens) > config["vocab_size"]:
        raise UserError(
            f"{path} has {len(tokens)} tokens, but only {config['vocab_size']} rows: it contradicts itself."
        )
    generation = {"eos_token_id": ends if len(ends) != 1 else ends[0]} if ends else {}
    for role in ("bos", "pad"):
        number = opened.values.get(f"tokenizer.ggml.{'padding' if role == 'pad' else role}_token_id")
        if number is not None:
            generation[f"{role}_token_id"] = number
    with _consistent(path):
        _write_weights(opened, out / "model.safetensors")
    write_json(out / "config.json", config | generation)
    write_json(out / "generation_config.json", generation)
    return Converted(_notes(opened), str(opened.values.get("general.license", "")))


def _open(path: Path) -> Opened:
    """Read all but the weights. Raises UserError for a file that is no GGUF, or is cut off, or of another architecture."""
    try:
        reader = GGUFReader(path)
        values = {name: field.contents() for name, field in reader.fields.items()}
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise UserError(
            f"{path} cannot be read as GGUF ({error}): it is damaged, not whole, or another file."
        ) from error
    if values.get("split.count", 1) > 1:
        raise UserError(f"{path} is one of {values['split.count']} parts: join them with `llama-gguf-split --merge`.")
    architecture = values.get("general.architecture", "(none)")
    if architecture not in CLASSES:
        known = ", ".join(sorted(CLASSES))
        raise UserError(
            f"{path} holds a model of the architecture `{architecture}`, which the build cannot train: {known}."
        )
    return Opened(values, {tensor.name: tensor for tensor in reader.tensors}, architecture, str(path))


def _config(opened: Opened) -> dict[str, Any]:
    """Return config.json. Raises UserError where the file lacks a number or a weight, or has one that is not known."""
    if EMBEDDING not in opened.weights:
        raise UserError(f"{opened.where} has no {EMBEDDING}: it holds no weights of a model.")
    config: dict[str, Any] = {"architectures": [CLASSES[opened.architecture]], "model_type": opened.architecture}
    for key, attribute in COUNTS.items():
        if key != "vocab_size":
            config[attribute] = int(opened.value(key))
    if config["num_hidden_layers"] > len(opened.weights):
        raise UserError(f"{opened.where} lacks the weights of most of its {config['num_hidden_layers']:,} blocks.")
    config["vocab_size"] = int(opened.weights[EMBEDDING].shape[1])
    if int(opened.weights[EMBEDDING].shape[0]) != config["hidden_size"]:
        raise UserError(f"{opened.where} has rows of another length in {EMBEDDING} than it says.")
    size = config["hidden_size"] // config["num_attention_heads"]
    sizes = {int(opened.values.get(f"{opened.architecture}.{key}", size)) for key in HEAD_SIZES}
    head_size = int(opened.values.get(f"{opened.architecture}.{HEAD_SIZES[0]}", size))
    if sizes != {head_size}:
        raise UserError(
            f"{opened.where} has heads of different sizes for keys, values and positions, which is not read here."
        )
    known = dict(tensor_names(opened.architecture, config["num_hidden_layers"]))
    strange = opened.weights.keys() - known.keys() - {FREQUENCIES}
    if strange:
        raise UserError(
            f"{opened.where} has the weight {min(strange)}, which a plain {opened.architecture} model does not."
        )
    for name, _ in required_names(opened.architecture, config["num_hidden_layers"]):
        if name not in opened.weights:
            raise UserError(f"{opened.where} lacks the weight {name}: it is not whole.")
    config |= {
        "head_dim": head_size,
        "hidden_act": "silu",
        "rms_norm_eps": float(f"{_positive(opened.value(EPSILON), EPSILON):.6g}"),  # of fp32, as people wrote it
        "rope_parameters": _rope(opened, head_size),
        "tie_word_embeddings": OUTPUT not in opened.weights,
        "dtype": DTYPES[_dtype(opened.weights[next(name for name in known if name.endswith("attn_q.weight"))])],
    }
    if opened.architecture != "qwen2":  # which has biases always
        config["attention_bias"] = "blk.0.attn_q.bias" in opened.weights
    if opened.architecture == "llama":
        config["mlp_bias"] = "blk.0.ffn_up.bias" in opened.weights
    return config


def _positive(value: Any, what: str) -> float:
    """Return a number that must be above zero and finite. Raises ValueError for another."""
    number = float(value)
    if not 0 < number < math.inf:
        raise ValueError(f"{what} is {number}")
    return number


def _rope(opened: Opened, head_size: int) -> dict[str, Any]:
    """Return the rotary positions as transformers has them. Raises UserError for a kind that is not known here."""
    base = _positive(opened.values.get(f"{opened.architecture}.{BASE}", 10000.0), BASE)
    kind = opened.values.get(f"{opened.architecture}.{SCALING}type", "none")
    if FREQUENCIES in opened.weights:
        factors = np.array(opened.weights[FREQUENCIES].data)
        rope = LLAMA3 | {"factor": float(factors.max())}
        if len(factors) == head_size // 2 and np.allclose(llama3_factors(base, head_size, rope), factors, rtol=1e-3):
            return {"rope_type": "llama3", "rope_theta": base, **rope}
        raise UserError(
            f"{opened.where} has factors of rotary frequencies other than Llama 3's, which is not read here."
        )
    if kind == "none":
        return {"rope_type": "default", "rope_theta": base}
    if kind not in ("linear", "yarn"):
        raise UserError(f"{opened.where} has rotary positions of the kind `{kind}`, which is not read here.")
    rope = {"rope_type": kind, "rope_theta": base, "factor": _positive(opened.value(f"{SCALING}factor"), "factor")}
    original = opened.values.get(f"{opened.architecture}.{SCALING}original_context_length")
    return rope | ({"original_max_position_embeddings": int(original)} if original and kind == "yarn" else {})


def _dtype(tensor: ReaderTensor) -> str:
    """Return what the numbers of a weight become."""
    return KEPT.get(tensor.tensor_type, "F16")


def _write_weights(opened: Opened, out: Path) -> None:
    names = dict(tensor_names(opened.architecture, int(opened.value("block_count"))))
    tensors = [tensor for name, tensor in opened.weights.items() if name in names]
    entries = []
    for tensor in tensors:
        shape = tuple(int(size) for size in reversed(tensor.shape))
        entries.append(Entry(names[tensor.name], _dtype(tensor), shape))
    with bar("gguf", sum(entry.bytes for entry in entries)) as advance:

        def numbers() -> Iterator[bytes]:
            for tensor, entry in zip(tensors, entries, strict=True):
                yield _numbers(opened, tensor, entry)
                advance(entry.bytes)

        write_safetensors(out, entries, numbers())


def _numbers(opened: Opened, tensor: ReaderTensor, entry: Entry) -> bytes:
    """Return the bytes of a weight in the order that transformers wants."""
    weights: np.ndarray
    if entry.dtype == "BF16":  # numpy has no such numbers; their places can change without
        weights = np.asarray(tensor.data).view(np.uint16).reshape(entry.shape)
    elif tensor.tensor_type in KEPT:
        weights = np.asarray(tensor.data).reshape(entry.shape)
    else:
        try:
            whole = dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError as error:
            raise UserError(
                f"{opened.where} is quantized as {tensor.tensor_type.name}, which cannot be undone here."
            ) from error
        if not np.abs(whole).max() <= np.finfo(np.float16).max:
            raise UserError(f"{opened.where} has a number in {tensor.name} that fp16 cannot hold.")
        weights = whole.astype(np.float16).reshape(entry.shape)
    heads = int(opened.value("attention.head_count")), int(opened.value("attention.head_count_kv"))
    changed = heads_of_pairs(opened.architecture, tensor.name, *heads)
    return np.ascontiguousarray(halved(weights, changed) if changed else weights).tobytes()


def _notes(opened: Opened) -> list[str]:
    """Return a sentence on what was rounded before."""
    quantized = Counter(tensor.tensor_type.name for tensor in opened.weights.values() if tensor.tensor_type not in KEPT)
    if not quantized:
        return []
    kinds = ", ".join(f"{kind} ({count} of its matrices)" for kind, count in quantized.most_common())
    return [f"It was quantized: {kinds}. Its numbers are fp16 now, and what was rounded then stays rounded."]
