"""A GGUF file as a Hugging Face folder: its numbers as fp16, its names and its shape as transformers has them.

    NAME.gguf  ->  config.json  model.safetensors  tokenizer.json  tokenizer_config.json  chat_template.jinja  generation_config.json

Weights are converted one at a time. What a quantized file has rounded stays rounded; fp16, bf16 and fp32 are kept as they are.
"""

from pathlib import Path
from typing import Any, NamedTuple

from privllm.base.gguf_config import config_of
from privllm.base.gguf_file import Opened, consistent, open_gguf
from privllm.base.gguf_shape import require_weights, shape_of
from privllm.base.gguf_tokenizer import write_tokenizer
from privllm.base.gguf_weights import dtype_of, require_readable, rounding_notes, write_weights
from privllm.core.errors import UserError
from privllm.core.report import write_json
from privllm.export.gguf_vocabulary import PREFIX

ROLES = {"bos": "bos", "pad": "padding"}  # {a special token in config.json: its name in GGUF}


class Converted(NamedTuple):
    """What to say of a model that was converted."""

    notes: list[str]  # what was lost
    licence: str  # "" where the file names none


def convert_gguf(path: Path, out: Path) -> Converted:
    """Write the model in the GGUF file `path` to the folder `out`.

    Raises UserError for a file that is damaged, or of a kind that is not known here.
    """
    opened = open_gguf(path)
    with consistent(path):
        shape = shape_of(opened)
        require_weights(opened, shape)
        require_readable(opened)
        config = config_of(opened, shape)
        _require_rows(opened, shape.counts["vocab_size"])
        out.mkdir(parents=True, exist_ok=True)
        ends = write_tokenizer(opened.values, out, opened.where)
        write_weights(opened, shape, out / "model.safetensors")
    generation = _generation(opened, ends)
    nothing = dict.fromkeys(
        ("bos_token_id", "eos_token_id", "pad_token_id")
    )  # or transformers takes the architecture's
    write_json(out / "config.json", config | {"dtype": dtype_of(opened)} | nothing | generation)
    write_json(out / "generation_config.json", generation)
    return Converted(rounding_notes(opened), str(opened.values.get("general.license", "")))


def _require_rows(opened: Opened, rows: int) -> None:
    """Raise UserError where a token has no row in the embedding."""
    tokens = opened.values.get(f"{PREFIX}tokens") or []
    if len(tokens) > rows:
        raise UserError(f"{opened.where} has {len(tokens)} tokens, but only {rows} rows: it contradicts itself.")


def _generation(opened: Opened, ends: list[int]) -> dict[str, Any]:
    """Return the ids of special tokens that the file names."""
    generation: dict[str, Any] = {"eos_token_id": ends if len(ends) != 1 else ends[0]} if ends else {}
    for role, name in ROLES.items():
        number = opened.values.get(f"{PREFIX}{name}_token_id")
        if number is not None:
            generation[f"{role}_token_id"] = number
    return generation
