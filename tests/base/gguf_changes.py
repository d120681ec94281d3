"""GGUF files of tiny models that are changed: other values, a weight less or more, other numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter

from privllm.export.gguf import write_gguf
from tests.export.gguf_models import tiny_model

KINDS = {
    str: GGUFValueType.STRING,
    int: GGUFValueType.UINT32,
    float: GGUFValueType.FLOAT32,
    bool: GGUFValueType.BOOL,
    list: GGUFValueType.ARRAY,
}


def changed_model(tokenizer: Path, tmp_path: Path, kind: str = "llama", **change: Any) -> Path:
    """Write a tiny model as GGUF with a change, and return the file; the model's folder is tmp_path/model."""
    tmp_path.mkdir(exist_ok=True)
    folder = tiny_model(tmp_path / "model", kind, tokenizer)
    write_gguf(folder, "f16", tmp_path / "whole.gguf", "m")
    return changed(tmp_path / "whole.gguf", tmp_path / "m.gguf", **change)


def changed(
    whole: Path,
    out: Path,
    values: Mapping[str, Any] | None = None,
    without: str = "",
    beside: Mapping[str, np.ndarray] | None = None,
    bf16: bool = False,
) -> Path:
    """Copy a GGUF file with other values (None: none), without a weight, with weights beside, or with bf16 matrices."""
    reader = GGUFReader(whole)
    values = dict(values or {})
    was = reader.fields["general.architecture"].contents()
    writer = GGUFWriter(out, values.pop("general.architecture", was))
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture" or name in values:
            continue
        sub_type = field.types[1] if len(field.types) > 1 else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type)
    for name, value in values.items():
        if value is not None:
            writer.add_key_value(name, value, KINDS[type(value)])
    for tensor in reader.tensors:
        if tensor.name == without or tensor.name in (beside or {}):
            continue
        if bf16 and len(tensor.shape) > 1:
            writer.add_tensor(tensor.name, as_bf16(tensor.data), raw_dtype=GGMLQuantizationType.BF16)
        else:
            writer.add_tensor(tensor.name, np.array(tensor.data))
    for name, numbers in (beside or {}).items():
        writer.add_tensor(name, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def as_bf16(numbers: np.ndarray) -> np.ndarray:
    """Return the bytes of bf16."""
    rounded = torch.tensor(np.array(numbers)).to(torch.bfloat16).view(torch.int16).numpy()
    return rounded.view(np.uint8).reshape(*numbers.shape[:-1], -1)
