"""Stages of dvc.yaml with their deps, params and outs; a `matrix` or `foreach` is expanded.

DVC expands them when it builds; this module does it without importing DVC (0.7 s), and a test
compares the two. It supports what our dvc.yaml uses of DVC's templates: a matrix of lists, a
foreach over a list or a mapping, `${item}`, `${item.x}`, `${key}`, and names of params.yaml. People
may edit their dvc.yaml, and DVC supports more (`vars`, `${list[0]}`, `\\${`): all else is expanded
by DVC itself, in a process of its own (`dvc_resolver`).
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
OUTPUT_KINDS = ("outs", "metrics", "plots")
PATH_KINDS = ("deps", *OUTPUT_KINDS)


class UnsupportedTemplate(Exception):
    """A stage that only DVC itself can expand."""


def declared_stages(root: Path = Path()) -> dict[str, dict[str, Any]]:
    """Return {name: declaration} of the stages of dvc.yaml, in its order.

    Empty where there is no dvc.yaml.

    The stages of a matrix are called `stage@item`. Paths are from the root. `params` are names in
    params.yaml; other files of parameters, `- other.yaml: [x]`, are among the deps. Raises
    UserError where DVC cannot read dvc.yaml.
    """
    return _expanded_stages(written_stages(root), root)


def declared_stage(stage: str, words: list[str], root: Path = Path()) -> tuple[str, dict[str, Any]]:
    """Return name and declaration of the stage that runs `python -m stages.STAGE WORDS`.

    (stage, {}) where dvc.yaml declares none.
    """
    candidates = {}
    for name, template in written_stages(root).items():
        if name == stage or runs_ours(template, stage):
            candidates[name] = template
    expanded = _expanded_stages(candidates, root)
    for name, declared in expanded.items():
        declared_words = words_of(declared, stage)
        if declared_words is not None and declared_words[: len(words)] == words:
            return name, declared
    namesakes = [name for name in expanded if name.partition("@")[0] == stage]
    if len(namesakes) == 1:  # run by hand, with other paths
        return namesakes[0], expanded[namesakes[0]]
    return stage, {}


def require_root(root: Path = Path()) -> None:
    """Raise UserError where `root` is not the root of a repository of ours."""
    if not (root / PIPELINE).is_file():
        raise UserError(f"there is no {PIPELINE} in {root.resolve()}: run this from the root of the repository.")


def written_stages(root: Path) -> dict[str, dict[str, Any]]:
    """Return the `stages` of dvc.yaml as they are written, with their templates.

    Empty where there is no dvc.yaml.
    """
    path = root / PIPELINE
    if not path.is_file():
        return {}
    try:
        document = parse_yaml(path.read_bytes())
    except yaml.YAMLError as error:
        raise UserError(f"{PIPELINE} is not valid YAML: {' '.join(str(error).split())}.") from error
    stages = (document.get("stages") or {}) if isinstance(document, dict) else {}
    return {str(name): stage for name, stage in stages.items() if isinstance(stage, dict)}


def expand_stages(stages: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the declarations of `stages` of a dvc.yaml, with the values of its params.yaml.

    Stages that only DVC can expand are left out.
    """
    expanded: dict[str, dict[str, Any]] = {}
    for base, stage in stages.items():
        try:
            expanded |= _expand(base, stage, params)
        except UnsupportedTemplate:
            continue
    return expanded


def outputs_of(declared: Mapping[str, Any]) -> list[str]:
    """Return the paths that a stage makes: outs, metrics, plots."""
    paths = []
    for kind in OUTPUT_KINDS:
        for entry in declared.get(kind) or []:
            paths.append(entry if isinstance(entry, str) else next(iter(entry)))
    return paths


def runs_ours(declared: Mapping[str, Any], stage: str) -> bool:
    """Return whether a stage runs `python -m stages.STAGE`; otherwise it is people's own.

    It may be written with templates or expanded.
    """
    return words_of(declared.get("do") or declared, stage) is not None


def words_of(declared: Mapping[str, Any], stage: str) -> list[str] | None:
    """Return the words behind `stages.STAGE` on a stage's command line.

    None where none of its commands runs that.
    """
    commands = declared.get("cmd") or []
    for command in [commands] if isinstance(commands, str) else commands:
        for line in str(command).replace("\\\n", " ").splitlines():
            if f"stages.{stage}" not in line:
                continue
            try:
                words = shlex.split(line)
            except ValueError:  # a quotation over several lines: none of our commands
                continue
            if f"stages.{stage}" in words:
                return words[words.index(f"stages.{stage}") + 1 :]
    return None


def look_up(dotted: str, values: Mapping[str, Any]) -> Any:
    """Return the value of a dotted name, where `[2]` is the third of a list.

    Raises UserError where there is none.
    """
    value: Any = values
    for key in re.split(r"[.\[]", dotted.replace("]", "")):
        if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, Mapping) and key in value:
            value = value[key]
        else:
            raise UserError(f"dvc.yaml names `{dotted}`, which params.yaml does not have.")
    return value


def _expanded_stages(templates: Mapping[str, Any], root: Path) -> dict[str, dict[str, Any]]:
    """Return these stages of dvc.yaml, expanded by this module if possible, else by DVC."""
    needs_params = TEMPLATE.search(str(templates)) is not None
    try:
        params = load_sections(root / PARAMS_FILE) if needs_params else {}
        expanded: dict[str, dict[str, Any]] = {}
        for base, template in templates.items():
            expanded |= _expand(base, template, params)
        return expanded
    except UnsupportedTemplate:
        all_stages = _expanded_by_dvc(root)
    selected = {}
    for name, declared in all_stages.items():
        if name in templates or name.rpartition("@")[0] in templates:
            selected[name] = _from_root(declared)
    return selected


def _expanded_by_dvc(root: Path) -> dict[str, dict[str, Any]]:
    """Return every stage as DVC expands it. Raises UserError where it cannot."""
    process = subprocess.run([sys.executable, "-m", RESOLVER], cwd=root, capture_output=True, text=True)
    if process.returncode:
        reason = " ".join(process.stderr.split()) or "it does not say why"
        raise UserError(f"DVC cannot read {PIPELINE}: {reason}.")
    return json.loads(process.stdout)


def _expand(base: str, template: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return one stage, or those of its matrix or foreach. Raises UnsupportedTemplate."""
    if "vars" in template or "vars" in (template.get("do") or {}):
        raise UnsupportedTemplate
    if "matrix" in template:
        items: Mapping[str, Any] = dict(_combinations(_filled(template["matrix"], params)))
        body = {key: value for key, value in template.items() if key != "matrix"}
    elif "foreach" in template:
        items = _items_of(_filled(template["foreach"], params))
        body = template["do"]
    else:
        return {base: _from_root(_filled(template, params))}
    expanded = {}
    for key, item in items.items():
        names = {**params, "key": key, "item": item}
        expanded[f"{base}@{key}"] = _from_root(_filled(body, names))
    return expanded


def _items_of(foreach: Any) -> Mapping[str, Any]:
    """Return {key: item} of a `foreach` whose templates are filled in."""
    if isinstance(foreach, list):
        return {_plain(item): item for item in foreach}
    if not isinstance(foreach, Mapping):
        raise UnsupportedTemplate
    return foreach


def _combinations(matrix: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield ("a-1", {"x": "a", "y": 1}) for each combination of a matrix's values."""
    is_supported = isinstance(matrix, Mapping) and all(isinstance(values, list) for values in matrix.values())
    if not is_supported:
        raise UnsupportedTemplate
    for values in product(*matrix.values()):
        key = "-".join(_plain(value) for value in values)
        yield key, dict(zip(matrix, values, strict=True))


def _filled(value: Any, names: Mapping[str, Any]) -> Any:
    """Return `value` with its templates filled in.

    A template that is a whole string may be a list or a mapping.
    """
    if isinstance(value, dict):
        return {_filled(key, names): _filled(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, names) for item in value]
    if not isinstance(value, str) or "${" not in value:
        return value
    has_other_syntax = value.count("${") != len(TEMPLATE.findall(value))
    if has_other_syntax or "\\${" in value:
        raise UnsupportedTemplate
    whole = TEMPLATE.fullmatch(value)
    if whole:
        return _value_of(whole[1], names)
    return TEMPLATE.sub(lambda template: _plain(_value_of(template[1], names)), value)


def _value_of(name: str, names: Mapping[str, Any]) -> Any:
    try:
        return look_up(name, names)
    except UserError:
        raise UnsupportedTemplate from None  # it may be in DVC's `vars`; otherwise DVC says what is wrong


def _plain(value: Any) -> str:
    """Return a text or a number as DVC writes it into a text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UnsupportedTemplate
    return str(value)


def _from_root(declared: dict[str, Any]) -> dict[str, Any]:
    """Return a stage with paths from the root, and its files of parameters among its deps."""
    if any(isinstance(entry, dict) for entry in declared.get("params") or []):
        declared = _with_param_files(declared)
    folder = declared.get("wdir")
    if not folder:
        return declared

    def moved(entry: Any) -> Any:
        if isinstance(entry, dict):
            return {moved(path): options for path, options in entry.items()}
        return entry if "://" in entry else posixpath.normpath(posixpath.join(folder, entry))

    moved_paths = {}
    for kind in PATH_KINDS:
        if declared.get(kind):
            moved_paths[kind] = [moved(entry) for entry in declared[kind]]
    return declared | moved_paths


def _with_param_files(declared: dict[str, Any]) -> dict[str, Any]:
    """Return a stage whose `params` are of params.yaml alone; other files become deps."""
    names: list[str] = []
    files: list[str] = []
    for entry in declared["params"]:
        keys_by_file = entry if isinstance(entry, dict) else {str(PARAMS_FILE): [entry]}
        for file, keys in keys_by_file.items():
            if file == str(PARAMS_FILE) and keys:
                names += [str(key) for key in keys]
            else:
                files.append(file)
    return declared | {"params": names, "deps": [*(declared.get("deps") or []), *files]}
