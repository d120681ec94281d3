"""dvc.yaml as it is meant: every stage with its deps, params and outs, those of a `matrix` or a `foreach` written out one by one.

DVC does the same when it builds; this is for what must know it without importing DVC (0.7 s), and a test compares the two. Of DVC's
templates it knows what our dvc.yaml uses: a matrix of one list, a foreach over a list or a mapping, `${item}`, `${item.x}`, `${key}`,
and names of params.yaml.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from privllm.core.errors import UserError
from privllm.core.params import load_sections
from privllm.core.plain_yaml import parse_yaml

PIPELINE = Path("dvc.yaml")
TEMPLATE = re.compile(r"\$\{([\w.]+)\}")


def declared_stages(root: Path = Path()) -> dict[str, dict[str, Any]]:
    """{name: what dvc.yaml declares}, in its order; the stages of a matrix are called `stage@item`. Empty where there is no dvc.yaml."""
    written = written_stages(root)
    return written_out(written, load_sections(root / "params.yaml")) if TEMPLATE.search(str(written)) else written


def written_stages(root: Path) -> dict[str, dict[str, Any]]:
    """The `stages` of dvc.yaml as they are written, templates and all; empty where there is no dvc.yaml."""
    path = root / PIPELINE
    return (parse_yaml(path.read_text("utf-8")) or {}).get("stages", {}) if path.is_file() else {}


def outputs_of(declared: Mapping[str, Any]) -> list[str]:
    """The paths that a stage makes: outs, metrics, plots."""
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in declared.get(kind, [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def written_out(stages: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """`declared_stages` of the `stages` of a dvc.yaml beside the values of its params.yaml."""
    return {name: stage for base, declared in stages.items() for name, stage in _written_out(base, declared, params)}


def declared_stage(stage: str, words: list[str], root: Path = Path()) -> tuple[str, dict[str, Any]]:
    """Name and declaration of the stage that `python -m stages.STAGE WORDS` is; (stage, {}) where dvc.yaml has none."""
    found = [(name, one) for name, one in declared_stages(root).items() if name.partition("@")[0] == stage]
    return next((pair for pair in found if pair[1].get("cmd", "").split()[3:] == words), found[0] if len(found) == 1 else (stage, {}))


def _written_out(base: str, declared: Mapping[str, Any], params: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if "matrix" in declared:
        ((name, items),) = declared["matrix"].items()
        rest = {key: value for key, value in declared.items() if key != "matrix"}
        for item in _filled(items, params):
            yield f"{base}@{item}", _filled(rest, {**params, "item": {name: item}})
    elif "foreach" in declared:
        items = _filled(declared["foreach"], params)
        for key, item in items.items() if isinstance(items, Mapping) else ((item, item) for item in items):
            yield f"{base}@{key}", _filled(declared["do"], {**params, "key": key, "item": item})
    else:
        yield base, _filled(declared, params)


def _filled(value: Any, names: Mapping[str, Any]) -> Any:
    """`value` with its templates filled in; one that is all of a string may be a list or a mapping."""
    if isinstance(value, dict):
        return {_filled(key, names): _filled(part, names) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, names) for part in value]
    if not isinstance(value, str):
        return value
    if whole := TEMPLATE.fullmatch(value):
        return look_up(whole[1], names)
    return TEMPLATE.sub(lambda found: str(look_up(found[1], names)), value)


def look_up(dotted: str, values: Mapping[str, Any]) -> Any:
    """The value of a dotted name. Raises UserError where there is none."""
    found: Any = values
    for part in dotted.split("."):
        if not isinstance(found, Mapping) or part not in found:
            raise UserError(f"dvc.yaml names `{dotted}`, which params.yaml does not have.")
        found = found[part]
    return found
