"""Parameters: one section of params.yaml read into the dataclass of the module that uses it.

Strict both ways: an unknown key, a wrong type or a value out of range is an error that names the file, the line and
the nearest known key. Nothing is interpolated (DVC hashes the unexpanded text, so `${...}` would hide a change).
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
PLACES = {"executor"}  # sections that say where work is done: they can change no result, so no stage declares or records them
Config = TypeVar("Config")


class WrongValue(UserError):
    """A value that its config dataclass refuses. `key` is dotted, from the section or from the dataclass on; `fault` ends the sentence."""

    def __init__(self, key: str, fault: str) -> None:
        super().__init__(f"parameter `{key}` in {PARAMS_FILE} {fault}.")
        self.key, self.fault = key, fault


def require(condition: bool, key: str, allowed: str) -> None:
    """Raise a `WrongValue` unless `condition`; `key` is dotted ("split.test"), `allowed` says what is."""
    if not condition:
        raise WrongValue(key, f"is out of range: it must be {allowed}")


def read_params(section: str, schema: type[Config], path: Path = PARAMS_FILE, over: str = "") -> Config:
    """`schema` filled from `section` (dotted) of the file at `path`, then from the section `over`; missing ones leave the defaults.

    Raises UserError for a file that is not YAML, an unknown key, a wrong type, or a value out of range.
    """
    sections = load_sections(path)
    merged, name = OmegaConf.structured(schema), section
    try:
        for name in filter(None, (section, over)):
            merged = OmegaConf.merge(merged, OmegaConf.create(_part(sections, name)))
        return OmegaConf.to_object(merged)  # type: ignore[return-value]
    except WrongValue as error:
        dotted = _place_of(error.key, _refusing(merged), [over, section] if over else [section], sections)
        raise UserError(f"parameter `{dotted}` ({path}, line {line_of(path, dotted)}) {error.fault}.") from None
    except UserError:
        raise
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        raise UserError(_explain(error, name, schema, path)) from error


def _part(sections: dict[str, Any], dotted: str) -> Any:
    """What stands under a dotted name, {} for nothing."""
    part: Any = sections
    for name in dotted.split("."):
        part = part.get(name) if isinstance(part, dict) else None
    return {} if part is None else part


def load_sections(path: Path = PARAMS_FILE) -> dict[str, Any]:
    """All of params.yaml as plain values, keys in order. Raises UserError when it is missing or is no mapping."""
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
        raise UserError(f"parameter `{dotted}` ({path}, line {line_of(path, dotted)}) is {values}: it must be a finite number.")
    elif isinstance(values, int) and dotted.rpartition(".")[2] == "seed" and not 0 <= values < 2**63:
        raise UserError(f"parameter `{dotted}` ({path}, line {line_of(path, dotted)}) is out of range: it must be between 0 and 2^63 - 1.")


def deciding_sections(path: Path = PARAMS_FILE) -> dict[str, Any]:
    """`load_sections` without `PLACES`: what may be written into an output."""
    return {name: values for name, values in load_sections(path).items() if name not in PLACES}


@lru_cache(1)
def _parse(text: str) -> Any:
    """Kept, for a stage asks four times or so, and it takes 3 ms. To be copied, not changed."""
    return parse_yaml(text)


def in_order(values: Any) -> Any:
    """Mappings by key, all the way down: DVC compares values, so the order in which a person wrote them may decide nothing."""
    if isinstance(values, dict):
        return {key: in_order(values[key]) for key in sorted(values, key=str)}
    return [in_order(value) for value in values] if isinstance(values, list) else values


def _refusing(node: DictConfig) -> list[str]:
    """The names that lead from `node` to the innermost dataclass that refuses its values."""
    for name in node:
        inner = node[name]
        if isinstance(inner, DictConfig):
            try:
                OmegaConf.to_object(inner)
            except WrongValue:
                return [str(name), *_refusing(inner)]
    return []


def _place_of(key: str, inside: list[str], names: list[str], sections: dict[str, Any]) -> str:
    """The whole dotted name of a key that a dataclass refused, which stands `inside` one of the sections `names`.

    Dataclasses name their keys from where they see them: `layers`, `model.layers` or `pretrain.causal.model.layers`.
    """
    places = []
    for section in names:
        outer, parts = [*section.split("."), *inside], key.split(".")
        shared = next(n for n in range(min(len(outer), len(parts)), -1, -1) if outer[len(outer) - n :] == parts[:n])
        places.append(".".join(outer if outer[: len(parts)] == parts else [*outer, *parts[shared:]]))
    return next((place for place in places if _part(sections, place) != {}), places[-1])


def _explain(error: Exception, section: str, schema: type, path: Path) -> str:
    key = getattr(error, "full_key", None) or ""
    dotted = f"{section}.{key}" if key else section
    where = f"{path}, line {line_of(path, dotted)}"
    if isinstance(error, ConfigKeyError):
        names = [_named_as(name, key) for name in known_keys(schema)]
        near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
        hint = f"did you mean `{section}.{near[0]}`?" if near else f"known keys: {', '.join(names)}."
        return f"unknown parameter `{dotted}` ({where}); {hint}"
    first_line = str(error).strip().splitlines()[0].rstrip(".")
    return f"parameter `{dotted}` ({where}) cannot be used: {first_line}."


def known_keys(schema: type, prefix: str = "") -> list[str]:
    """Dotted names of every field of a config dataclass, nested ones included; `*` stands for a key of people's own."""
    names = []
    for name, kind in get_type_hints(schema).items():
        dotted = prefix + name
        if get_origin(kind) is dict and is_dataclass(get_args(kind)[1]):
            dotted, kind = f"{dotted}.*", get_args(kind)[1]
        names += known_keys(kind, f"{dotted}.") if is_dataclass(kind) else [dotted]  # type: ignore[arg-type]
    return names


def _named_as(name: str, key: str) -> str:
    """`name` with the key's own words where it has a `*`."""
    words = key.split(".")
    return ".".join(words[i] if part == "*" and i < len(words) else part for i, part in enumerate(name.split(".")))


def line_of(path: Path, dotted: str) -> int:
    """Line (from 1) of the deepest part of `dotted` that the file has."""
    node, line = LOADER(path.read_text("utf-8")).get_single_node(), 1
    for part in dotted.split("."):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = [(k, v) for k, v in pairs if k.value == part]
        if not found:
            break
        line, node = found[0][0].start_mark.line + 1, found[0][1]
    return line
