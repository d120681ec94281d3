"""Check that a folder holds a model, and of which kind, before torch is imported: a fault is reported at once.

It looks at file names only; whether the files can be opened is checked in `engine.prompting`.
"""

import json
from pathlib import Path
from typing import Any

from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.engine.pipeline import PIPELINE

TOKENIZERS = ("tokenizer*", "vocab*", "*.model")  # file names of tokenizers


def require_model(folder: Path) -> None:
    """Raise UserError, which says what to do, unless `folder` holds a model and a tokenizer."""
    if folder.is_file():
        raise UserError(f"{folder} is a file: name the folder that holds the model.")
    if not folder.is_dir():
        raise UserError(_missing_folder(folder))
    skipped_note = folder / "skipped.json"
    if skipped_note.is_file():
        reason = json.loads(skipped_note.read_text("utf-8"))["skipped"]
        raise UserError(f"{folder} holds no model, since its task was skipped: {reason}")
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{folder} holds no model (config.json is missing): run `dvc repro`, or name the folder of another one."
        )
    if not any(folder.glob("*.safetensors")):
        raise UserError(f"{folder} holds no *.safetensors; weights in other formats could run code and are not opened.")
    if not any(any(folder.glob(pattern)) for pattern in TOKENIZERS):
        raise UserError(
            f"{folder} holds a model without its tokenizer: name a folder that has both, such as data/export/causal."
        )


def gives_embeddings(folder: Path) -> bool:
    """Return whether the model in `folder` reads texts and writes none: a masked one, or one of sentence-transformers."""
    exported = _read(folder / "provenance.json")
    if exported:
        traits = TRAITS.get(exported.get("family", ""))
        return bool(traits and traits.has_mask)
    architectures = _read(folder / "config.json").get("architectures") or [""]
    return (folder / "modules.json").is_file() or str(architectures[0]).endswith("ForMaskedLM")


def _read(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, {} where there is none: whoever opens the model says what is wrong."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _missing_folder(folder: Path) -> str:
    if PIPELINE.is_file():
        return (
            f"{folder} is not there, because this repository has not built that model yet: "
            "`dvc repro` builds it (in a clone `make run`, with a demo), `dvc pull` fetches one that was built elsewhere. "
            "Or name the folder of another model."
        )
    return (
        f"{folder} is not there, and {Path.cwd()} is not the root of a build ({PIPELINE} is missing): "
        "go to the repository's folder, or name the folder of a model."
    )
