"""Parameters of the build: value, default, meaning, and where each is set; and the JSON schema of params.yaml.

Everything is read from the dataclasses of `param_sections.SECTIONS`: types and defaults from the fields,
the meaning (unit and range) from the comment beside or above a field.
"""

import ast
import inspect
import io
import textwrap
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from privllm.cli.param_sections import DEFAULTS, FAMILIES, SECTIONS, TASKS
from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.params import PARAMS_FILE, line_of, load_sections

SCHEMA_FILE = Path("params.schema.json")
JSON_TYPES = {int: "integer", float: "number", str: "string", bool: "boolean"}


class Knob(NamedTuple):
    """One parameter."""

    key: str  # dotted, as `dvc exp run -S` takes it
    value: Any
    default: Any
    line: int | None  # of params.yaml; None where the default counts
    meaning: str


def knobs_of(section: str = "", root: Path = Path()) -> list[Knob]:
    """Return the parameters below the dotted name `section`, or all of them.

    Raises UserError where there are none.
    """
    sections = load_sections(root / PARAMS_FILE)
    knobs = []
    for name, schema in SECTIONS.items():
        for key, default, meaning in _walk(schema, name):
            is_set, value = _look_up(sections, key)
            line = line_of(root / PARAMS_FILE, key) if is_set else None
            knobs.append(Knob(key, value if is_set else default, default, line, meaning))
    chosen = [knob for knob in knobs if not section or f"{knob.key}.".startswith(f"{section}.")]
    if not chosen:
        names = ", ".join(sorted({name.partition(".")[0] for name in SECTIONS}))
        raise UserError(f"there are no parameters below `{section}`: the sections are {names}.")
    return chosen


def _walk(schema: type, prefix: str) -> Iterator[tuple[str, Any, str]]:
    """Yield (dotted key, default, meaning) of every field, those of nested dataclasses included."""
    hints = get_type_hints(schema)
    for field in fields(schema):
        key = f"{prefix}.{field.name}"
        if is_dataclass(hints[field.name]):
            yield from _walk(hints[field.name], key)
        else:
            yield key, _default(field), comments_of(schema).get(field.name, "")


def _default(field: Any) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return None if field.default is MISSING else field.default


def _look_up(sections: Mapping[str, Any], key: str) -> tuple[bool, Any]:
    """Return whether params.yaml sets a key, and its value."""
    value: Any = sections
    for name in key.split("."):
        if not isinstance(value, dict) or name not in value:
            return False, None
        value = value[name]
    return True, value


@cache
def comments_of(schema: type) -> dict[str, str]:
    """Return {field: comment} of a dataclass and its base classes: beside the field, or in the lines above it."""
    comments: dict[str, str] = {}
    for base in reversed(schema.__mro__):
        if is_dataclass(base):
            comments |= _comments_in(textwrap.dedent(inspect.getsource(base)))
    return comments


def _comments_in(source: str) -> dict[str, str]:
    by_line: dict[int, str] = {}
    whole_lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            by_line[token.start[0]] = token.string.lstrip("# ")
            if token.line.lstrip().startswith("#"):
                whole_lines.add(token.start[0])
    comments = {}
    declaration = ast.parse(source).body[0]
    for node in getattr(declaration, "body", []):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        above: list[str] = []
        line = node.lineno - 1
        while line in whole_lines:
            above.insert(0, by_line[line])
            line -= 1
        beside = by_line.get(node.end_lineno or node.lineno, "")
        comments[node.target.id] = " ".join(filter(None, [*above, beside]))
    return comments


def schema_of_params() -> dict[str, Any]:
    """Return the JSON schema of params.yaml. Sections of other stages of dvc.yaml may stand beside ours."""
    properties: dict[str, Any] = {
        FAMILIES: {
            "type": "array",
            "items": {"enum": list(TRAITS)},
            "minItems": 1,
            "uniqueItems": True,
            "description": "what is trained",
        }
    }
    for name, schema in SECTIONS.items():
        if name != DEFAULTS:
            properties[name] = _schema_of(schema)
    task = _schema_of(SECTIONS[DEFAULTS])
    properties["finetune"] = {
        "type": "object",
        "properties": {
            DEFAULTS.rpartition(".")[2]: task,
            TASKS.rpartition(".")[2]: {"type": "object", "additionalProperties": task},
        },
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "params.yaml of privllm",
        "type": "object",
        "properties": properties,
    }


def _schema_of(kind: Any) -> dict[str, Any]:
    """Return the JSON schema of a type: a dataclass, a container, a union or a plain value."""
    if is_dataclass(kind):
        return _schema_of_dataclass(kind)  # type: ignore[arg-type]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return {"anyOf": [_schema_of(argument) for argument in arguments]}
    if origin is list:
        return {"type": "array", "items": _schema_of(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema_of(arguments[1])}
    if kind is NoneType:
        return {"type": "null"}
    return {"type": JSON_TYPES[kind]} if kind in JSON_TYPES else {}


def _schema_of_dataclass(schema: type) -> dict[str, Any]:
    hints = get_type_hints(schema)
    properties = {}
    for field in fields(schema):
        entry = _schema_of(hints[field.name])
        if not is_dataclass(hints[field.name]):
            entry |= {"default": _default(field)}
        meaning = comments_of(schema).get(field.name, "")
        if meaning:
            entry["description"] = meaning
        properties[field.name] = entry
    return {"type": "object", "properties": properties, "additionalProperties": False}


def rows_of(knobs: Sequence[Knob], width: int, everything: bool) -> Iterator[str]:
    """Yield a line per parameter for a terminal; without `everything` only those that are set to another value."""
    chosen = [knob for knob in knobs if everything or knob.value != knob.default]
    if not chosen:
        yield "All of them have their defaults; --all lists them."
        return
    key_width = max(len(knob.key) for knob in chosen)
    for knob in chosen:
        place = "default" if knob.line is None else f"line {knob.line}"
        default = "" if knob.value == knob.default else f" (default {_short(knob.default)})"
        meaning = f"  # {knob.meaning}" if knob.meaning else ""
        line = f"{knob.key.ljust(key_width)}  {_short(knob.value)}{default}, {place}{meaning}"
        yield line if len(line) <= width else line[: width - 3] + "..."


def _short(value: Any) -> str:
    text = str(value) if value != "" else '""'
    return text if len(text) <= 40 else f"{text[:37]}..."
