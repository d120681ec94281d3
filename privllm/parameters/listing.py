"""Parameters of the build: value, default, meaning, and where each is set; and the JSON schema of params.yaml.

Everything is read from the dataclasses of `sections.SECTIONS`: types and defaults from the fields,
the meaning (unit and range) from the comment beside or above a field.
"""

import ast
import inspect
import io
import textwrap
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

from privllm.core.base_model import SECTION as BASE
from privllm.core.base_model import TOKENIZER
from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.params import PARAMS_FILE, line_of, load_sections
from privllm.engine.pipeline import look_up
from privllm.parameters.sections import DEFAULTS, EXTENSIONS, FAMILIES, SECTIONS

SCHEMA_FILE = Path("params.schema.json")


class Parameter(NamedTuple):
    """One parameter."""

    key: str  # dotted, as `dvc exp run -S` takes it
    value: Any
    default: Any
    line: int | None  # of params.yaml; None where the default counts
    meaning: str


def list_parameters(section: str = "", root: Path = Path()) -> list[Parameter]:
    """Return the parameters below the dotted name `section`, or all of them.

    Raises UserError where there are none.
    """
    sections = load_sections(root / PARAMS_FILE)
    parameters = []
    for name, schema in SECTIONS.items():
        for key, default, meaning in _walk(schema(), name):
            try:
                value, line = look_up(key, sections), line_of(root / PARAMS_FILE, key)
            except UserError:  # params.yaml does not set it
                value, line = default, None
            parameters.append(Parameter(key, value, default, line, meaning))
    if section:
        parameters = [parameter for parameter in parameters if f"{parameter.key}.".startswith(f"{section}.")]
    if not parameters:
        names = ", ".join(sorted({name.partition(".")[0] for name in SECTIONS}))
        raise UserError(f"there are no parameters below `{section}`: the sections are {names}.")
    return parameters


def _walk(defaults: Any, prefix: str) -> Iterator[tuple[str, Any, str]]:
    """Yield (dotted key, default, meaning) of every field of a dataclass's object, those of nested ones included."""
    schema: Any = type(defaults)
    for field in fields(defaults):
        key, default = f"{prefix}.{field.name}", getattr(defaults, field.name)
        if is_dataclass(default):
            yield from _walk(default, key)
        else:
            yield key, default, comments_of(schema).get(field.name, "")


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
    from pydantic import TypeAdapter

    adapters: list[Any] = [(name, "validation", TypeAdapter(schema)) for name, schema in SECTIONS.items()]
    references, definitions = TypeAdapter.json_schemas(adapters)
    for schema in set().union(*map(_dataclasses_in, SECTIONS.values())):
        definition = definitions["$defs"][schema.__name__]
        definition["additionalProperties"] = False
        for name, entry in definition["properties"].items():
            entry.pop("title", None)  # the name in capitals
            if comment := comments_of(schema).get(name):
                entry["description"] = comment
    sections = {name: references[name, "validation"] for name in SECTIONS}
    task = sections.pop(DEFAULTS)
    sections["finetune"] = {
        "type": "object",
        "properties": {"defaults": task, "tasks": {"type": "object", "additionalProperties": task}},
        "additionalProperties": False,
    }
    sections[FAMILIES] = {"type": "array", "items": {"enum": list(TRAITS)}, "minItems": 1, "uniqueItems": True}
    place = {"type": "string", "pattern": r"^(scratch|incumbent|data/base/[^/\\.][^/\\]*)$"}
    by_family = dict.fromkeys((*TRAITS, TOKENIZER), place)
    sections[BASE] = {"oneOf": [place, {"type": "object", "properties": by_family, "additionalProperties": False}]}
    module = {"type": "string", "pattern": r"^extensions/.+\.py$"}
    sections[EXTENSIONS] = {"type": "array", "items": module, "uniqueItems": True}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "params.yaml of privllm",
        "type": "object",
        "properties": sections,
        **definitions,
    }


def _dataclasses_in(kind: Any) -> set[Any]:
    """Return the dataclasses in a type: itself, those of its fields, and those in containers."""
    if not is_dataclass(kind):
        return set().union(*map(_dataclasses_in, get_args(kind)))
    fields_of_kind = get_type_hints(kind).values()
    return set().union([kind], *map(_dataclasses_in, fields_of_kind))


def rows_of(parameters: Sequence[Parameter], width: int, everything: bool) -> Iterator[str]:
    """Yield a line per parameter for a terminal; without `everything` only those that differ from the default."""
    if not everything:
        parameters = [parameter for parameter in parameters if parameter.value != parameter.default]
    if not parameters:
        yield "All of them have their defaults; --all lists them."
        return
    key_width = max(len(parameter.key) for parameter in parameters)
    for parameter in parameters:
        place = "default" if parameter.line is None else f"line {parameter.line}"
        default = "" if parameter.value == parameter.default else f" (default {_short(parameter.default)})"
        meaning = f"  # {parameter.meaning}" if parameter.meaning else ""
        line = f"{parameter.key.ljust(key_width)}  {_short(parameter.value)}{default}, {place}{meaning}"
        yield line if len(line) <= width else line[: width - 3] + "..."


def _short(value: Any) -> str:
    text = str(value) if value != "" else '""'
    return text if len(text) <= 40 else f"{text[:37]}..."
