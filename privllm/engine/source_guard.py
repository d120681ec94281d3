"""Guard of the sources: is the content that DVC has recorded the content that `collect` has read?

DVC hashes what a stage depends on after the stage has ended (dvc #11058), so a document that is
saved just then is recorded beside the result of its old text, and looks up to date for ever.
`collect` notes the content that it has read, by DVC's own name for it; every stage after it
compares that with dvc.lock. Nothing else that a stage reads is undeclared in dvc.yaml.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from privllm.core.errors import UserError
from privllm.core.plain_yaml import parse_yaml
from privllm.engine.pipeline import declared_stages, outputs_of

STAGE = "collect"
SOURCES = "data/sources"
SOURCES_AS_READ = "sources.json"  # in data/collect
LOCK = Path("dvc.lock")
COMMAND = f"dvc repro --force {STAGE}"
SAVED_TOO_LATE = (
    f"a file in {SOURCES} was saved after `{STAGE}` had read it and before DVC looked at it, so the old text was built and "
    f"DVC does not know. Run `{COMMAND}`, then `dvc repro`."
)


def sources_as_read(root: Path = Path()) -> str:
    """Return DVC's name for the content that `collect` has read, "" where it has not run."""
    try:
        return str(json.loads((root / "data" / STAGE / SOURCES_AS_READ).read_text("utf-8"))["md5"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def locked_stages(root: Path = Path()) -> dict[str, Any]:
    """Return what dvc.lock records of each stage by name, without unusable entries; {} where there is no dvc.lock."""
    try:
        stages = _parse_lock((root / LOCK).read_text("utf-8"))["stages"].items()
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return {}
    return {name: entry for name, entry in stages if isinstance(entry, dict)}


@lru_cache(1)
def _parse_lock(text: str) -> Any:
    """Parse dvc.lock, once for all the checks of one process. The value must not be changed."""
    return parse_yaml(text)


def sources_as_recorded(root: Path = Path()) -> str:
    """Return the content of the sources that dvc.lock names for the last run of `collect`.

    "" where it names none.
    """
    for entry in locked_stages(root).get(STAGE, {}).get("deps", []):
        if entry.get("path") == SOURCES:
            return str(entry.get("md5", ""))
    return ""


def content_named_in(note: Path | bytes) -> str:
    """Return the content that a `.dvc` file names, "" where it names none or is not there."""
    try:
        text = note if isinstance(note, bytes) else note.read_bytes()
        return str(parse_yaml(text)["outs"][0].get("md5", ""))
    except (OSError, yaml.YAMLError, KeyError, IndexError, TypeError, AttributeError):
        return ""


def saved_too_late(root: Path = Path()) -> bool:
    """Return whether dvc.lock names other content than `collect` has read."""
    read, recorded = sources_as_read(root), sources_as_recorded(root)
    return bool(read and recorded and read != recorded)


def require_sources_as_read(stage: str, root: Path = Path()) -> None:
    """Raise UserError where `stage` works on other sources than dvc.lock names."""
    if saved_too_late(root) and stage in stages_after(STAGE, declared_stages(root)):
        raise UserError(SAVED_TOO_LATE)


def stages_after(first: str, stages: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return the names of the stages that depend on `first`, directly or through others."""
    dependents: set[str] = set()
    outputs = outputs_of(stages.get(first, {}))
    while outputs:
        added = set()
        for name, declared in stages.items():
            if name not in dependents and _overlap(declared.get("deps", []), outputs):
                added.add(name)
        dependents |= added
        outputs = [path for name in added for path in outputs_of(stages[name])]
    return dependents


def _overlap(dependencies: list[str], outputs: list[str]) -> bool:
    """Return whether one of the dependencies is, holds or lies in one of the outputs."""
    for dependency, output in product(dependencies, outputs):
        if f"{dependency}/".startswith(f"{output}/") or f"{output}/".startswith(f"{dependency}/"):
            return True
    return False
