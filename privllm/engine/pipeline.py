"""dvc.yaml as it is meant: every stage with its deps, params and outs, those of a `matrix` or a `foreach` written out one by one.

DVC does the same when it builds; this is for what must know it without importing DVC (0.7 s), and a test compares the two. Of DVC's
templates it knows what our dvc.yaml uses: a matrix of lists, a foreach over a list or a mapping, `${item}`, `${item.x}`, `${key}`,
and names of params.yaml. A dvc.yaml is its owner's, and DVC knows more (`vars`, `${list[0]}`, `\\${`): what goes beyond is left to
DVC itself, in a process of its own (`dvc_resolver`).
"""

import json
import posixpath
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from privllm.core.errors import UserError
from privllm.core.params import PARAMS_FILE, load_sections
from privllm.core.plain_yaml import parse_yaml

PIPELINE = Path("dvc.yaml")
TEMPLATE = re.compile(r"\$\{([\w.]+)\}")
RESOLVER = "privllm.engine.dvc_resolver"
PATHS = ("deps", "outs", "metrics", "plots")


class BeyondUs(Exception):
    """It takes DVC itself to write a stage out."""


def declared_stages(root: Path = Path()) -> dict[str, dict[str, Any]]:
    """{name: what dvc.yaml declares}, in its order; the stages of a matrix are called `stage@item`. Empty where there is no dvc.yaml.

    Paths are from the root. `params` are names in params.yaml; other files of parameters, `- other.yaml: [x]`, are among the deps.
    Raises UserError where DVC cannot read it.
    """
    return _written_out_or_asked(written_stages(root), root)


def declared_stage(stage: str, words: list[str], root: Path = Path()) -> tuple[str, dict[str, Any]]:
    """Name and declaration of the stage that `python -m stages.STAGE WORDS` is; (stage, {}) where dvc.yaml has none."""
    written = {name: one for name, one in written_stages(root).items() if name == stage or runs_ours(one, stage)}
    declared = _written_out_or_asked(written, root)
    for name, one in declared.items():
        if (given := words_of(one, stage)) is not None and given[: len(words)] == words:
            return name, one
    named = [name for name in declared if name.partition("@")[0] == stage]
    return (named[0], declared[named[0]]) if len(named) == 1 else (stage, {})


def require_root(root: Path = Path()) -> None:
    """Raise UserError where `root` is not the root of a repository of ours."""
    if not (root / PIPELINE).is_file():
        raise UserError(f"there is no {PIPELINE} in {root.resolve()}: run this from the root of the repository.")


def written_stages(root: Path) -> dict[str, dict[str, Any]]:
    """The `stages` of dvc.yaml as they are written, templates and all; empty where there is no dvc.yaml."""
    path = root / PIPELINE
    if not path.is_file():
        return {}
    try:
        written = parse_yaml(path.read_bytes())
    except yaml.YAMLError as error:
        raise UserError(f"{PIPELINE} is not valid YAML: {' '.join(str(error).split())}.") from error
    stages = (written.get("stages") or {}) if isinstance(written, dict) else {}
    return {str(name): stage for name, stage in stages.items() if isinstance(stage, dict)}


def written_out(stages: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """`declared_stages` of the `stages` of a dvc.yaml beside the values of its params.yaml, without those that only DVC can write out."""
    declared: dict[str, dict[str, Any]] = {}
    for base, stage in stages.items():
        try:
            declared |= _written_out(base, stage, params)
        except BeyondUs:
            continue
    return declared


def outputs_of(declared: Mapping[str, Any]) -> list[str]:
    """The paths that a stage makes: outs, metrics, plots."""
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in declared.get(kind) or []]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def runs_ours(declared: Mapping[str, Any], stage: str) -> bool:
    """Is it `python -m stages.STAGE` that a stage, as it is written or written out, runs? Another one is its owner's own."""
    return words_of(declared.get("do") or declared, stage) is not None


def words_of(declared: Mapping[str, Any], stage: str) -> list[str] | None:
    """What stands behind `stages.STAGE` on the stage's command line; None where none of its commands is that."""
    commands = declared.get("cmd") or []
    for command in [commands] if isinstance(commands, str) else commands:
        for line in str(command).replace("\\\n", " ").splitlines():
            if f"stages.{stage}" not in line:
                continue
            try:
                words = shlex.split(line)
            except ValueError:  # a quotation over several lines: none of ours
                continue
            if f"stages.{stage}" in words:
                return words[words.index(f"stages.{stage}") + 1 :]
    return None


def look_up(dotted: str, values: Mapping[str, Any]) -> Any:
    """The value of a dotted name, where `[2]` is the third of a list. Raises UserError where there is none."""
    found: Any = values
    for part in re.split(r"[.\[]", dotted.replace("]", "")):
        if isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        elif isinstance(found, Mapping) and part in found:
            found = found[part]
        else:
            raise UserError(f"dvc.yaml names `{dotted}`, which params.yaml does not have.")
    return found


def _written_out_or_asked(written: Mapping[str, Any], root: Path) -> dict[str, dict[str, Any]]:
    """These stages of the dvc.yaml in `root`, by ourselves if possible, else by DVC."""
    needs_params = TEMPLATE.search(str(written)) is not None
    try:
        params = load_sections(root / PARAMS_FILE) if needs_params else {}
        return {name: one for base, stage in written.items() for name, one in _written_out(base, stage, params).items()}
    except BeyondUs:
        declared = _as_dvc_does(root)
        return {name: _in_root(one) for name, one in declared.items() if name in written or name.rpartition("@")[0] in written}


def _as_dvc_does(root: Path) -> dict[str, dict[str, Any]]:
    """Every stage, as DVC writes it out. Raises UserError where it cannot."""
    done = subprocess.run([sys.executable, "-m", RESOLVER], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"DVC cannot read {PIPELINE}: {' '.join(done.stderr.split()) or 'it does not say why'}.")
    return json.loads(done.stdout)


def _written_out(base: str, declared: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """One stage, or those that its matrix or foreach makes of it. Raises BeyondUs."""
    if "vars" in declared or "vars" in (declared.get("do") or {}):
        raise BeyondUs
    if "matrix" in declared:
        rest = {key: value for key, value in declared.items() if key != "matrix"}
        items = dict(_combinations(_filled(declared["matrix"], params)))
        return {f"{base}@{key}": _in_root(_filled(rest, {**params, "key": key, "item": item})) for key, item in items.items()}
    if "foreach" in declared:
        items = _filled(declared["foreach"], params)
        if isinstance(items, list):
            items = {_plain(item): item for item in items}
        if not isinstance(items, Mapping):
            raise BeyondUs
        return {f"{base}@{key}": _in_root(_filled(declared["do"], {**params, "key": key, "item": item})) for key, item in items.items()}
    return {base: _in_root(_filled(declared, params))}


def _combinations(matrix: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """("a-1", {"x": "a", "y": 1}) for each combination of a matrix's values."""
    if not (isinstance(matrix, Mapping) and all(isinstance(values, list) for values in matrix.values())):
        raise BeyondUs
    for values in product(*matrix.values()):
        yield "-".join(map(_plain, values)), dict(zip(matrix, values, strict=True))


def _filled(value: Any, names: Mapping[str, Any]) -> Any:
    """`value` with its templates filled in; one that is all of a string may be a list or a mapping."""
    if isinstance(value, dict):
        return {_filled(key, names): _filled(part, names) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, names) for part in value]
    if not isinstance(value, str) or "${" not in value:
        return value
    if "\\${" in value or value.count("${") != len(TEMPLATE.findall(value)):
        raise BeyondUs
    if whole := TEMPLATE.fullmatch(value):
        return _value_of(whole[1], names)
    return TEMPLATE.sub(lambda template: _plain(_value_of(template[1], names)), value)


def _value_of(name: str, names: Mapping[str, Any]) -> Any:
    try:
        return look_up(name, names)
    except UserError:
        raise BeyondUs from None  # DVC may know it from `vars`, and says what is wrong where it does not


def _plain(value: Any) -> str:
    """A text or a number as DVC writes it into a text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise BeyondUs
    return str(value)


def _in_root(declared: dict[str, Any]) -> dict[str, Any]:
    """A stage with its files of parameters among its deps, and the paths of a `wdir` as if it had none."""
    if any(isinstance(entry, dict) for entry in declared.get("params") or []):
        declared = _with_files_of_params(declared)
    folder = declared.get("wdir")
    if not folder:
        return declared

    def moved(entry: Any) -> Any:
        if isinstance(entry, dict):
            return {moved(path): options for path, options in entry.items()}
        return entry if "://" in entry else posixpath.normpath(posixpath.join(folder, entry))

    return declared | {kind: [moved(entry) for entry in declared[kind]] for kind in PATHS if declared.get(kind)}


def _with_files_of_params(declared: dict[str, Any]) -> dict[str, Any]:
    names: list[str] = []
    files: list[str] = []
    for entry in declared["params"]:
        for file, keys in entry.items() if isinstance(entry, dict) else [(str(PARAMS_FILE), [entry])]:
            if file == str(PARAMS_FILE) and keys:
                names += map(str, keys)
            else:
                files.append(file)
    return declared | {"params": names, "deps": [*(declared.get("deps") or []), *files]}
