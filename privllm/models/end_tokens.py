"""The tokens that end a reply, noted where transformers looks for them: `config.json` and `generation_config.json` of a folder.

It opens no model. Which tokens end a turn, `tokens.chat_format` says.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CONFIGS = ("config.json", "generation_config.json")
KEY = "eos_token_id"


def note_ends(folder: Path, ends: Iterable[int]) -> None:
    """Have both files of `folder` name `ends`, behind whatever either of them named before."""
    values = {name: _read(folder / name) for name in CONFIGS}
    known = [token for name in CONFIGS for token in ends_in(values[name])]
    every = list(dict.fromkeys([*known, *ends]))
    for name in CONFIGS:
        noted = values[name] | {KEY: every if len(every) > 1 else every[0]}
        # As transformers writes it.
        (folder / name).write_text(json.dumps(noted, indent=2, sort_keys=True) + "\n", "utf-8")


def ends_in(config: dict[str, Any]) -> list[int]:
    """The ids that a configuration of transformers names as ends: one, several or none."""
    named = config.get(KEY)
    if named is None:
        return []
    return list(named) if isinstance(named, list) else [named]


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}
