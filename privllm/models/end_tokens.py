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
    """Write `ends` to both files of `folder`, behind the ids that either of them named before."""
    configs = {name: _read(folder / name) for name in CONFIGS}
    ids: list[int] = []
    for config in configs.values():
        ids += ends_in(config)
    unique_ids = list(dict.fromkeys([*ids, *ends]))
    for name, config in configs.items():
        if ends_in(config) == unique_ids:  # as the base model came
            continue
        updated = config | {KEY: unique_ids if len(unique_ids) > 1 else unique_ids[0]}
        # As transformers writes it.
        (folder / name).write_text(json.dumps(updated, indent=2, sort_keys=True) + "\n", "utf-8")


def read_settings(folder: Path) -> dict[str, Any]:
    """Return generation_config.json of `folder`; {} where there is none."""
    return _read(folder / CONFIGS[1])


def ends_in(config: dict[str, Any]) -> list[int]:
    """Return the ids that a configuration of transformers names as ends: one, several or none."""
    named = config.get(KEY)
    if named is None:
        return []
    return list(named) if isinstance(named, list) else [named]


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    return json.loads(path.read_text("utf-8"))
