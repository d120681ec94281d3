"""Is there a model to talk to? Asked before torch is imported, so that who is in the wrong place hears of it at once.

It looks at names only: whether what lies there can be opened, `voice` finds out.
"""

import json
from pathlib import Path

from privllm.core.errors import UserError
from privllm.engine.pipeline import PIPELINE

TOKENIZERS = ("tokenizer*", "vocab*", "*.model")  # names that files of tokenizers have


def require_model(folder: Path) -> None:
    """Raise UserError, which says what to do, unless `folder` holds a model and a tokenizer."""
    if not folder.is_dir():
        raise UserError(_nothing_at(folder))
    if (folder / "skipped.json").is_file():
        reason = json.loads((folder / "skipped.json").read_text("utf-8"))["skipped"]
        raise UserError(f"{folder} holds no model, since its task was skipped: {reason}")
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no model (config.json is missing): run `dvc repro`, or name the folder of another one.")
    if not any(folder.glob("*.safetensors")):
        raise UserError(f"{folder} holds no *.safetensors; weights in other formats could run code and are not opened.")
    if not any(path for pattern in TOKENIZERS for path in folder.glob(pattern)):
        raise UserError(f"{folder} holds a model without its tokenizer: name a folder that has both, such as data/export/causal.")


def _nothing_at(folder: Path) -> str:
    if PIPELINE.is_file():
        return (
            f"{folder} is not there, for this repository has built no such model yet: `make run` builds it (`dvc repro` without a demo), "
            "`dvc pull` fetches one that was built elsewhere. Or name the folder of another model."
        )
    return (
        f"{folder} is not there, and {Path.cwd()} is not the root of a build ({PIPELINE} is missing): go to the repository's folder, "
        "or name the folder of a model."
    )
