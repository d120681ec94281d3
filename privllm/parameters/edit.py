"""Edits of params.yaml that keep what people wrote around the values: comments, order, layout.

A value is replaced where it stands; a key that is missing is added to its mapping, in the mapping's own layout. Only scalars are written.
"""

import json
from collections.abc import Mapping

import yaml

from privllm.core.plain_yaml import LOADER

Value = str | int | float | bool


def set_values(text: str, values: Mapping[str, Value]) -> str:
    """Return the text of a YAML mapping with each dotted key set to its value."""
    for dotted, value in values.items():
        text = _set_value(text, dotted.split("."), _written(value))
    return text


def _written(value: Value) -> str:
    """Return a scalar as YAML; Python's 1e-05 would be a string there."""
    if isinstance(value, float):
        return f"{value:.10f}".rstrip("0") + "0" * value.is_integer()
    return json.dumps(value, ensure_ascii=False)


def _set_value(text: str, names: list[str], written: str) -> str:
    """Return the text with one value set, by going down as far as the names exist."""
    node: yaml.MappingNode = LOADER(text).get_single_node()  # type: ignore[assignment]
    while names:
        child = _child(node, names[0])
        if child is None:
            return _with_key(text, node, names, written)
        if not isinstance(child, yaml.MappingNode) or len(names) == 1:
            before, after = text[: child.start_mark.index], text[child.end_mark.index :]
            space = " " * before.endswith(":")  # of a key without a value
            return before + space + _nested(names[1:], written) + after
        node, names = child, names[1:]
    return text


def _child(node: yaml.MappingNode, name: str) -> yaml.Node | None:
    for key_node, value_node in node.value:
        if key_node.value == name:
            return value_node
    return None


def _nested(names: list[str], written: str) -> str:
    """Return a value below names as a flow mapping: {model: {layers: 6}}."""
    for name in reversed(names):
        written = f"{{{name}: {written}}}"
    return written


def _with_key(text: str, node: yaml.MappingNode, names: list[str], written: str) -> str:
    """Return the text with a key more in the mapping of `node`."""
    entry = f"{names[0]}: {_nested(names[1:], written)}"
    if node.flow_style:
        place = node.end_mark.index - 1  # before the bracket
        separator = ", " if node.value else ""
        return text[:place].rstrip() + separator + entry + text[place:]
    first_key, _ = node.value[0]
    line_start = first_key.start_mark.index - first_key.start_mark.column
    indent = " " * first_key.start_mark.column
    return f"{text[:line_start]}{indent}{entry}\n{text[line_start:]}"
