"""Parameters: one section of params.yaml, read into the dataclass of the module that uses it.

An unknown key, a wrong type or a value out of range is an error that names the file, the line and
the nearest known key. Nothing is interpolated (DVC hashes the unexpanded text, so `${...}` would
hide a change).
"""

import difflib
import json
import math
from dataclasses import is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from privllm.core.errors import UserError
from privllm.core.plain_yaml import LOADER, parse_yaml

PARAMS_FILE = Path("params.yaml")
PLACES = {
    "executor"
}  # sections that say where work is done: they change no result, and no stage declares or records them
Config = TypeVar("Config")


class WrongValue(UserError):
    """A value that its config dataclass refuses.

    `key` is dotted, from the section or from the dataclass on; `fault` ends the sentence.
    """

    def __init__(self, key: str, fault: str) -> None:
        super().__init__(f"parameter `{key}` in {PARAMS_FILE} {fault}.")
        self.key, self.fault = key, fault


def require(condition: bool, key: str, allowed: str) -> None:
    """Raise a `WrongValue` unless `condition`.

    `key` is dotted ("split.test"), `allowed` says what is.
    """
    if not condition:
        raise WrongValue(key, f"is out of range: it must be {allowed}")


def read_params(section: str, schema: type[Config], path: Path = PARAMS_FILE, over: str = "") -> Config:
    """Return `schema` with the values of `section` (dotted), then with those of the section `over`.

    Missing keys keep their defaults. Raises UserError for a file that is not YAML, an unknown key,
    a wrong type, or a value out of range.
    """
    sections = load_sections(path)
    merged, name = OmegaConf.structured(schema), section
    names = [section, over] if over else [section]
    try:
        for name in names:
            values = OmegaConf.create(_section_values(sections, name))
            merged = OmegaConf.merge(merged, values)
        return OmegaConf.to_object(merged)  # type: ignore[return-value]
    except WrongValue as error:
        dotted = _full_name(error.key, _refusing_path(merged), names[::-1], sections)
        raise UserError(f"parameter `{dotted}` ({path}, line {line_of(path, dotted)}) {error.fault}.") from None
    except UserError:
        raise
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        raise UserError(_explain(error, name, schema, path)) from error


def _section_values(sections: dict[str, Any], dotted: str) -> Any:
    """Return the value of a dotted name, {} where there is none."""
    value: Any = sections
    for name in dotted.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return {} if value is None else value


def load_sections(path: Path = PARAMS_FILE) -> dict[str, Any]:
    """Return all of params.yaml as plain values, keys in order.

    Raises UserError where it is missing or not a mapping.
    """
    try:
        sections = _parse(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run this from the root of the repository.") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(sections, dict):
        raise UserError(f"{path} must be a mapping of stage names to parameters.")
    if "${" in json.dumps(sections, default=str):
        raise UserError(f"{path} holds a `${{...}}`: DVC would hash it unexpanded and miss a change; write the value.")
    _require_usable_numbers(sections, path)
    return in_order(sections)


def _require_usable_numbers(values: Any, path: Path, dotted: str = "") -> None:
    """Raise UserError for a number that no parameter can use: one that is not finite, or a seed that a generator refuses."""
    if isinstance(values, dict):
        for key, value in values.items():
            _require_usable_numbers(value, path, f"{dotted}.{key}" if dotted else str(key))
    elif isinstance(values, list):
        for value in values:
            _require_usable_numbers(value, path, dotted)
    elif isinstance(values, float) and not math.isfinite(values):
        raise UserError(
            f"parameter `{dotted}` ({path}, line {line_of(path, dotted)}) is {values}: it must be a finite number."
        )
    elif isinstance(values, int) and dotted.rpartition(".")[2] == "seed" and not 0 <= values < 2**63:
        raise UserError(
            f"parameter `{dotted}` ({path}, line {line_of(path, dotted)}) is out of range: it must be between 0 and 2^63 - 1."
        )


def deciding_sections(path: Path = PARAMS_FILE) -> dict[str, Any]:
    """Return `load_sections` without `PLACES`: what may be written into an output."""
    return {name: values for name, values in load_sections(path).items() if name not in PLACES}


@lru_cache(1)
def _parse(text: str) -> Any:
    """Return the parsed text, to be copied and not changed.

    Cached: a stage asks about four times, and parsing takes 3 ms.
    """
    return parse_yaml(text)


def in_order(values: Any) -> Any:
    """Return `values` with all mappings sorted by key.

    DVC ignores the order in which people wrote them, so it must not count.
    """
    if isinstance(values, dict):
        return {key: in_order(values[key]) for key in sorted(values, key=str)}
    if isinstance(values, list):
        return [in_order(value) for value in values]
    return values


def _refusing_path(node: DictConfig) -> list[str]:
    """Return the names that lead from `node` to the innermost dataclass that refuses its values."""
    for name in node:
        inner = node[name]
        if isinstance(inner, DictConfig):
            try:
                OmegaConf.to_object(inner)
            except WrongValue:
                return [str(name), *_refusing_path(inner)]
    return []


def _full_name(key: str, inside: list[str], names: list[str], sections: dict[str, Any]) -> str:
    """Return the whole dotted name of a refused key that stands `inside` one of the sections `names`.

    Dataclasses name their keys from where they see them: `layers`, `model.layers` or
    `pretrain.causal.model.layers`. If several sections are possible, the first that has the key is
    taken.
    """
    full_names = [_joined([*section.split("."), *inside], key.split(".")) for section in names]
    for full_name in full_names:
        if _section_values(sections, full_name) != {}:
            return full_name
    return full_names[-1]


def _joined(outer: list[str], key: list[str]) -> str:
    """Return `key` below `outer`.

    Names at the end of `outer` with which `key` begins stand there once.
    """
    if outer[: len(key)] == key:
        return ".".join(outer)
    for shared in range(min(len(outer), len(key)), 0, -1):
        if outer[-shared:] == key[:shared]:
            return ".".join([*outer, *key[shared:]])
    return ".".join([*outer, *key])


def _explain(error: Exception, section: str, schema: type, path: Path) -> str:
    """Return what OmegaConf found wrong in a section, with its line.

    For an unknown key it names the nearest known one.
    """
    key = getattr(error, "full_key", None) or ""
    dotted = f"{section}.{key}" if key else section
    location = f"{path}, line {line_of(path, dotted)}"
    if isinstance(error, ConfigKeyError):
        names = [_with_words_of(key, name) for name in known_keys(schema)]
        matches = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
        hint = f"did you mean `{section}.{matches[0]}`?" if matches else f"known keys: {', '.join(names)}."
        return f"unknown parameter `{dotted}` ({location}); {hint}"
    first_line = str(error).strip().splitlines()[0].rstrip(".")
    return f"parameter `{dotted}` ({location}) cannot be used: {first_line}."


def known_keys(schema: type, prefix: str = "") -> list[str]:
    """Return the dotted names of every field of a config dataclass, nested ones included.

    `*` stands for people's own key.
    """
    names = []
    for field, kind in get_type_hints(schema).items():
        dotted = prefix + field
        if get_origin(kind) is dict and is_dataclass(get_args(kind)[1]):
            dotted, kind = f"{dotted}.*", get_args(kind)[1]
        if is_dataclass(kind):
            names += known_keys(kind, f"{dotted}.")  # type: ignore[arg-type]
        else:
            names.append(dotted)
    return names


def _with_words_of(key: str, name: str) -> str:
    """Return `name` with the words of `key` in the place of each `*`."""
    words = key.split(".")
    filled = []
    for position, word in enumerate(name.split(".")):
        is_open = word == "*" and position < len(words)
        filled.append(words[position] if is_open else word)
    return ".".join(filled)


def line_of(path: Path, dotted: str) -> int:
    """Return the line (from 1) of the deepest part of a dotted name that the file has."""
    node, line = LOADER(path.read_text("utf-8")).get_single_node(), 1
    for name in dotted.split("."):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        matches = [(key_node, value_node) for key_node, value_node in pairs if key_node.value == name]
        if not matches:
            break
        key_node, node = matches[0]
        line = key_node.start_mark.line + 1
    return line
