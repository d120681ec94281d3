"""A Hugging Face folder of a causal model as one GGUF file, which llama.cpp and what stands on it (Ollama, LM Studio) read.

    config.json safetensors tokenizer.json chat_template.jinja  ->  NAME.gguf  NAME.Modelfile

Weights are read, converted and written one at a time. The same folder gives the same bytes. Vectors stay fp32, as llama.cpp wants them;
matrices become fp16 or blocks of 32 numbers with a scale. The output matrix decides between tokens directly, so it is never below 8 bits.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType, GGUFWriter, LlamaFileType
from gguf.quants import quant_shape_to_byte_shape, quantize
from safetensors import SafetensorError, safe_open

from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.progress import bar
from privllm.engine.digests import replacing
from privllm.export.config import GGUF_TYPES
from privllm.export.gguf_kinds import (
    WINDOWS,
    as_llama_cpp_has_it,
    counts_of,
    key_heads_of,
    own_values,
    require_computable,
    shape_there,
)
from privllm.export.gguf_layout import (
    ARCHITECTURES,
    EMBEDDING,
    FREQUENCIES,
    HEAD_SIZES,
    OUTPUT,
    POSITIONS,
    Rotation,
    required_names,
    rotation_of,
    tensor_names,
)
from privllm.export.gguf_vocabulary import PREFIX, Vocabulary, read_vocabulary
from privllm.export.modelfile import modelfile
from privllm.models.loading import config_of
from privllm.tokens.special_ids import read_object

Type = GGMLQuantizationType
MATRICES = {"f16": Type.F16, "q8_0": Type.Q8_0, "q4_0": Type.Q4_0}
FILE_TYPES = {
    "f16": LlamaFileType.MOSTLY_F16,
    "q8_0": LlamaFileType.MOSTLY_Q8_0,
    "q4_0": LlamaFileType.MOSTLY_Q4_0,
}
BLOCK = 32  # numbers that share a scale
PASSED_OVER = "rotary_emb.inv_freq"  # of old folders; it follows from the configuration


class Source(NamedTuple):
    """A weight of the folder, and what becomes of it."""

    name: str  # in GGUF
    key: str  # in safetensors
    file: Path
    shape: tuple[int, ...]  # in GGUF
    type: GGMLQuantizationType


class Written(NamedTuple):
    """What was written."""

    bytes: int
    parameters: int
    notes: list[str]  # what is other than people may expect


class Plan(NamedTuple):
    """What is to be written."""

    config: Any  # transformers'
    architecture: str  # llama.cpp's
    sources: list[Source]
    rows: int  # of the embeddings
    rotation: Rotation
    vocabulary: Vocabulary
    notes: list[str]  # on the weights


def write_gguf(folder: Path, kind: str, out: Path, name: str) -> Written:
    """Write the model in `folder` to `out`, and a Modelfile beside it; `kind` is one of GGUF_TYPES, `name` the model's.

    Raises UserError where the folder holds no causal model, or one that GGUF or llama.cpp cannot hold.
    """
    assert kind in GGUF_TYPES
    config, architecture, sources, rows, rotation, vocabulary, notes = plan_gguf(folder, kind, name)
    heads = config.num_attention_heads, key_heads_of(config)
    description, not_described = modelfile(out.name, folder, architecture, vocabulary)
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as partial:
        writer = GGUFWriter(partial, architecture)
        _describe(writer, config, rotation, name, kind, rows)
        _add_vocabulary(writer, vocabulary)
        try:
            parameters = _write_weights(writer, rotation.factors, sources, heads)
        finally:
            writer.close()
    out.with_suffix(".Modelfile").write_text(description, "utf-8")
    return Written(
        out.stat().st_size, parameters, [*notes, *_attention_notes(config), *vocabulary.notes, *not_described]
    )


def plan_gguf(folder: Path, kind: str, name: str) -> Plan:
    """Return what `write_gguf` would write. Raises UserError as that does, but for what only the numbers of the weights show."""
    config = _config(folder)
    architecture = ARCHITECTURES[config.model_type]
    sources, notes = _sources(folder, config, architecture, kind)
    rotation = rotation_of(config, _head_size(config), str(folder))
    rows = next(source.shape[0] for source in sources if source.name == EMBEDDING)
    vocabulary = read_vocabulary(folder, rows, _ends_of(folder), name)
    return Plan(config, architecture, sources, rows, rotation, vocabulary, notes)


def _config(folder: Path) -> Any:
    """Return transformers' configuration. Raises UserError unless it is of a causal model that can be written."""
    if not folder.is_dir():
        raise UserError(
            f"{folder} is no folder: name one that holds a model, such as data/export/<family> after `dvc repro`."
        )
    config = config_of(folder)
    if config.model_type not in ARCHITECTURES:
        families = [name for name, traits in TRAITS.items() if config.model_type in traits.model_types]
        what = f"a {config.model_type} model" + (f" of the {families[0]} family" if families else "")
        raise UserError(f"{folder} holds {what}; only {', '.join(ARCHITECTURES)} models are written as GGUF here.")
    if getattr(config, "quantization_config", None):
        raise UserError(f"{folder} holds quantized weights; take the folder that they were made of.")
    require_computable(config, ARCHITECTURES[config.model_type], str(folder))
    return config


def _sources(folder: Path, config: Any, architecture: str, kind: str) -> tuple[list[Source], list[str]]:
    """Return all weights in the order of the file, and what to say of them. Raises UserError for one too few or too many."""
    files = _files_of_weights(folder)
    tied = bool(config.tie_word_embeddings) or "lm_head.weight" not in files
    sources, odd = [], []
    for name, key in tensor_names(architecture, config.num_hidden_layers):
        if key not in files or (name == OUTPUT and tied):
            continue
        file, stored_shape = files[key]
        shape = shape_there(stored_shape, name, architecture)
        matrix = _type_of(name, shape, kind, tied)
        if matrix == Type.F16 and kind != "f16" and len(shape) > 1:
            odd.append(name)
        sources.append(Source(name, key, file, shape, matrix))
    known = {key for _, key in tensor_names(architecture, config.num_hidden_layers)}
    strange = [key for key in files if key not in known and not key.endswith(PASSED_OVER)]
    if strange:
        raise UserError(f"{folder} has the weight {min(strange)}, which llama.cpp's {architecture} does not have.")
    for _, key in required_names(architecture, config.num_hidden_layers):
        if key not in files:
            raise UserError(f"{folder} lacks the weight {key}: take a folder that has all of them.")
    notes = []
    if odd:
        notes.append(
            f"{len(odd)} matrices stay f16, for their rows are no multiple of {BLOCK} long ({odd[0]} among them)."
        )
    return sources, notes


def _type_of(name: str, shape: tuple[int, ...], kind: str, tied: bool) -> GGMLQuantizationType:
    """Return the type that a weight is written in."""
    if len(shape) == 1 or name == POSITIONS:
        return Type.F32
    if kind == "f16" or shape[-1] % BLOCK:
        return Type.F16
    if name == OUTPUT or (name == EMBEDDING and tied):
        return Type.Q8_0
    return MATRICES[kind]


def _files_of_weights(folder: Path) -> dict[str, tuple[Path, tuple[int, ...]]]:
    """Return {name of a weight: (its file, its shape)} of all safetensors in the folder."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118  (it is no dict)
                    found[key] = (path, tuple(file.get_slice(key).get_shape()))
        except SafetensorError as error:
            raise UserError(f"{path} cannot be read ({error}): it is damaged or not whole.") from error
    return found


def _ends_of(folder: Path) -> dict[str, Any]:
    """Return config.json, and generation_config.json above it, which names more ends."""
    values: dict[str, Any] = {}
    for name in ("config.json", "generation_config.json"):
        values |= {key: value for key, value in read_object(folder / name).items() if value is not None}
    return values


def _describe(writer: GGUFWriter, config: Any, rotation: Rotation, name: str, kind: str, rows: int) -> None:
    """Add what is not of the tokenizer: the model's name, its shape, and the type of its numbers."""
    writer.add_string("general.type", "model")
    writer.add_string("general.name", name)
    writer.add_uint32("general.file_type", FILE_TYPES[kind])
    writer.add_uint32("general.quantization_version", 2)
    counts = counts_of(config) | {"vocab_size": rows} | dict.fromkeys(HEAD_SIZES, _head_size(config))
    for key, count in counts.items():
        writer.add_uint32(f"{writer.arch}.{key}", count)
    _add_values(writer, f"{writer.arch}.", rotation.values | own_values(config, writer.arch))


def _head_size(config: Any) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _add_vocabulary(writer: GGUFWriter, vocabulary: Vocabulary) -> None:
    _add_values(writer, PREFIX, vocabulary.values)
    writer.add_array(f"{PREFIX}tokens", vocabulary.tokens)
    writer.add_array(f"{PREFIX}token_type", vocabulary.kinds)
    writer.add_array(f"{PREFIX}merges", vocabulary.merges)
    writer.add_array(f"{PREFIX}scores", vocabulary.scores)
    writer.add_string("tokenizer.chat_template", vocabulary.template)


def _add_values(writer: GGUFWriter, prefix: str, values: Mapping[str, str | bool | int | float]) -> None:
    """Add values by what they are; whole numbers are ids and counts, and so without a sign."""
    kinds = {
        str: GGUFValueType.STRING,
        bool: GGUFValueType.BOOL,
        int: GGUFValueType.UINT32,
        float: GGUFValueType.FLOAT32,
    }
    for key, value in values.items():
        writer.add_key_value(f"{prefix}{key}", value, kinds[type(value)])


def _write_weights(
    writer: GGUFWriter, factors: np.ndarray | None, sources: list[Source], heads: tuple[int, int]
) -> int:
    """Write the list of the weights, and the weights; return how many numbers they are. `heads` are of queries and of keys."""
    if factors is not None:
        writer.add_tensor_info(FREQUENCIES, factors.shape, factors.dtype, factors.nbytes)
    for source in sources:
        _announce(writer, source)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if factors is not None:
        writer.write_tensor_data(factors)
    total = sum(int(np.prod(source.shape)) for source in sources)
    with bar("gguf", total) as advance:
        for source in sources:
            writer.write_tensor_data(_converted(source, writer.arch, heads))
            advance(int(np.prod(source.shape)))
    return total


def _announce(writer: GGUFWriter, source: Source) -> None:
    """Add shape and type of a weight to the list at the beginning of the file."""
    if source.type in (Type.F32, Type.F16):
        dtype = np.dtype(np.float32 if source.type == Type.F32 else np.float16)
        writer.add_tensor_info(source.name, source.shape, dtype, int(np.prod(source.shape)) * dtype.itemsize)
        return
    numbers, size = GGML_QUANT_SIZES[source.type]
    in_bytes = quant_shape_to_byte_shape(source.shape, source.type)
    count = int(np.prod(source.shape)) // numbers * size
    writer.add_tensor_info(source.name, in_bytes, np.dtype(np.uint8), count, raw_dtype=source.type)


def _converted(source: Source, architecture: str, heads: tuple[int, int]) -> np.ndarray:
    """Return a weight as it stands in the file. Raises UserError for a number that fp16 cannot hold."""
    with safe_open(source.file, framework="pt") as file:
        tensor = file.get_tensor(source.key)
    numbers = tensor.to(torch.float32).numpy()
    weights = np.ascontiguousarray(as_llama_cpp_has_it(numbers, source.name, architecture, heads))
    largest = float(np.abs(weights).max())
    if not largest <= float(np.finfo(np.float16).max) and source.type != Type.F32:
        raise UserError(f"{source.file} has a number of {largest:g} in {source.key}, which fp16 cannot hold.")
    if source.type == Type.F32:
        return weights
    if source.type == Type.F16:
        return weights.astype(np.float16)
    return quantize(weights, source.type)


def _attention_notes(config: Any) -> list[str]:
    """Return a sentence where the model looks back less far than its context, which llama.cpp does not do for it."""
    window = getattr(config, "sliding_window", None)
    is_there_too = ARCHITECTURES[config.model_type] in WINDOWS
    if (
        is_there_too
        or not window
        or window >= config.max_position_embeddings
        or not getattr(config, "use_sliding_window", True)
    ):
        return []
    return [f"The model looks back {window} tokens and llama.cpp without a limit: keep its context at {window}."]
