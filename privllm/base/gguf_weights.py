"""The weights of a GGUF file as safetensors: one at a time, under transformers' names, where transformers has their numbers.

fp32, fp16 and bf16 stay what they are. What is quantized becomes fp16.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, ReaderTensor
from gguf.quants import dequantize

from privllm.base.gguf_file import Opened
from privllm.base.gguf_shape import Shape
from privllm.base.safetensors_file import Entry, write_safetensors
from privllm.core.errors import UserError
from privllm.core.progress import bar
from privllm.export.gguf_kinds import as_transformers_has_it, has_one_added, shape_there
from privllm.export.gguf_layout import OUTPUT, tensor_names

Type = GGMLQuantizationType
KEPT = {Type.F32: "F32", Type.F16: "F16", Type.BF16: "BF16"}
DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
A_MATRIX = "blk.0.attn_output.weight"  # of every architecture, and like most


def dtype_of(opened: Opened) -> str:
    """Return transformers' name of the type that most numbers are written in."""
    return DTYPES[KEPT.get(opened.weights[A_MATRIX].tensor_type, "F16")]


def require_readable(opened: Opened) -> None:
    """Raise UserError where numbers are packed in a way that is not known here, before any of them is read."""
    for tensor in {tensor.tensor_type: tensor for tensor in opened.weights.values()}.values():
        if tensor.tensor_type in KEPT:
            continue
        first = tensor.data.reshape(-1)[: GGML_QUANT_SIZES[tensor.tensor_type][1]]
        try:
            dequantize(first, tensor.tensor_type)
        except NotImplementedError as error:
            raise UserError(
                f"{opened.where} is quantized as {tensor.tensor_type.name}, which cannot be undone here."
            ) from error


def write_weights(opened: Opened, shape: Shape, out: Path) -> None:
    """Write all weights to the file `out`. Raises UserError for a number that fp16 cannot hold."""
    names = dict(tensor_names(opened.architecture, shape.blocks))
    tensors, entries = [], []
    for name, tensor in opened.weights.items():
        if name not in names or (name == OUTPUT and shape.is_tied):
            continue
        size = tuple(int(length) for length in reversed(tensor.shape))
        dtype = "F32" if has_one_added(name, opened.architecture) else KEPT.get(tensor.tensor_type, "F16")
        tensors.append(tensor)
        entries.append(Entry(names[name], dtype, shape_there(size, name, opened.architecture)))
    with bar("gguf", sum(entry.bytes for entry in entries)) as advance:

        def numbers() -> Iterator[bytes]:
            for tensor, entry in zip(tensors, entries, strict=True):
                yield _numbers(opened, tensor, entry, shape.heads)
                advance(entry.bytes)

        write_safetensors(out, entries, numbers())


def _numbers(opened: Opened, tensor: ReaderTensor, entry: Entry, heads: tuple[int, int]) -> bytes:
    """Return the bytes of a weight where transformers wants them."""
    weights: np.ndarray
    if entry.dtype == "BF16":  # numpy has no such numbers; their places can change without
        weights = np.asarray(tensor.data).view(np.uint16)
    elif tensor.tensor_type in KEPT and tensor.tensor_type != Type.BF16:
        weights = np.asarray(tensor.data).astype(np.float32 if entry.dtype == "F32" else np.float16)
    else:
        weights = _dequantized(opened, tensor, np.float32 if entry.dtype == "F32" else np.float16)
    in_rows = weights.reshape(tuple(int(length) for length in reversed(tensor.shape)))
    return np.ascontiguousarray(as_transformers_has_it(in_rows, tensor.name, opened.architecture, heads)).tobytes()


def _dequantized(opened: Opened, tensor: ReaderTensor, dtype: type[np.floating]) -> np.ndarray:
    """Return the numbers that blocks of integers with scales stand for."""
    whole = dequantize(tensor.data, tensor.tensor_type)
    if not np.abs(whole).max() <= np.finfo(dtype).max:
        raise UserError(f"{opened.where} has a number in {tensor.name} that fp16 cannot hold.")
    return whole.astype(dtype)


def rounding_notes(opened: Opened) -> list[str]:
    """Return a sentence on what was rounded before."""
    quantized = Counter(tensor.tensor_type.name for tensor in opened.weights.values() if tensor.tensor_type not in KEPT)
    if not quantized:
        return []
    kinds = ", ".join(f"{kind} ({count} of its matrices)" for kind, count in quantized.most_common())
    return [f"It was quantized: {kinds}. Its numbers are fp16 now, and what was rounded then stays rounded."]
