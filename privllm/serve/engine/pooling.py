"""Pooling: one vector of a text from those of its tokens, as a sentence-transformers folder says or by our own rule.

Our rule is the mean of the tokens that are text, at length 1. Folders of sentence-transformers
(https://sbert.net) list their steps in modules.json; one that does anything else is refused by name.

Shapes: B texts, T tokens, D width.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn.functional import normalize

from privllm.core.errors import UserError

STEPS = "modules.json"  # by which a folder is known as one of sentence-transformers
MEAN, FIRST, LAST, LARGEST = "mean", "cls", "lasttoken", "max"
OLD_NAMES = {
    "pooling_mode_mean_tokens": MEAN,
    "pooling_mode_cls_token": FIRST,
    "pooling_mode_lasttoken": LAST,
    "pooling_mode_max_tokens": LARGEST,
}


@dataclass(frozen=True)
class Pooling:
    """The way from tokens to a vector."""

    mode: str = MEAN
    with_special: bool = False  # tokens that are no text count too
    normalised: bool = True  # the vector has length 1
    max_tokens: int | None = None  # of a text; None: as many as the model sees
    lower_case: bool = False  # of the text, before it is encoded
    prefix: str = ""  # of every text

    def pool(self, hidden_BTD: Tensor, counted_BT: Tensor) -> Tensor:
        """Return vectors [B, D] in fp32, of the tokens that are counted: at least one in each text."""
        hidden_BTD = hidden_BTD.float().masked_fill(~counted_BT[..., None], 0.0)
        if self.mode == FIRST:
            pooled_BD = hidden_BTD[:, 0]
        elif self.mode == LAST:
            last_B = counted_BT.sum(1) - 1
            pooled_BD = hidden_BTD[range(len(last_B)), last_B]
        elif self.mode == LARGEST:
            pooled_BD = hidden_BTD.masked_fill(~counted_BT[..., None], float("-inf")).amax(1)
        else:
            pooled_BD = hidden_BTD.sum(1) / counted_BT.sum(1, keepdim=True)
        return normalize(pooled_BD, dim=1) if self.normalised else pooled_BD


def read_pooling(folder: Path) -> Pooling:
    """Return the pooling of a folder: sentence-transformers' where modules.json is there, ours otherwise.

    Raises UserError for steps that cannot be done here.
    """
    if not (folder / STEPS).is_file():
        return Pooling()
    settings: dict[str, Any] = {}
    kinds = []
    for step in _read(folder / STEPS):
        kind, path = _kind_and_path(folder, step)
        kinds.append(kind)
        if kind == "Transformer" and path != folder:
            raise _refused(folder, f"its model lies in {path.name}")
        if kind == "Pooling":
            settings["mode"] = _mode(folder, _read(path / "config.json"))
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise _refused(folder, f"its steps are {', '.join(kinds)}")
    settings |= _text_settings(folder)
    return Pooling(with_special=True, normalised=kinds[-1] == "Normalize", **settings)


def _kind_and_path(folder: Path, step: Any) -> tuple[str, Path]:
    """Return what kind of module a step is, and where its settings lie: within the folder."""
    if not isinstance(step, dict) or not isinstance(step.get("type"), str):
        raise _refused(folder, f"{STEPS} is no list of steps")
    path = folder / str(step.get("path", ""))
    if not path.resolve().is_relative_to(folder.resolve()):
        raise _refused(folder, f"{STEPS} names what lies outside")
    return step["type"].rpartition(".")[2], path


def _mode(folder: Path, config: Any) -> str:
    """Return the one way in which the folder pools."""
    modes = [name for key, name in OLD_NAMES.items() if config.get(key)]
    others = [
        key for key, value in config.items() if key.startswith("pooling_mode_") and value and key not in OLD_NAMES
    ]
    if "pooling_mode" in config:
        modes = [str(config["pooling_mode"])]
    if len(modes) != 1 or others or modes[0] not in OLD_NAMES.values():
        raise _refused(folder, f"it pools by {', '.join([*modes, *others]) or 'nothing'}")
    return modes[0]


def _text_settings(folder: Path) -> dict[str, Any]:
    """Return what is done to a text before it is encoded, and how long it may be."""
    settings: dict[str, Any] = {}
    limits, prompts = folder / "sentence_bert_config.json", folder / "config_sentence_transformers.json"
    if limits.is_file():
        config = _read(limits)
        settings = {"max_tokens": config.get("max_seq_length"), "lower_case": bool(config.get("do_lower_case"))}
    if prompts.is_file():
        config = _read(prompts)
        settings["prefix"] = (config.get("prompts") or {}).get(config.get("default_prompt_name")) or ""
    return settings


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON ({error}).") from error


def _refused(folder: Path, reason: str) -> UserError:
    return UserError(
        f"{folder} gives embeddings in a way that is not known here: {reason}. "
        "Put its own server behind --engine, or take a folder that pools by mean, cls, lasttoken or max."
    )
