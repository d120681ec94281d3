"""Reader of YAML as plain values, never as objects.

libyaml is used where PyYAML was built with it: it is ten times faster. PyYAML takes the last of two equal keys
without a word, so a value would be read that people do not see; here that is an error, as it is for DVC.
"""

from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
NESTERS = ("[", "{", "- -", "? ")
MOST_NESTERS = 2_000  # in a text for libyaml, which ends the process where it runs out of stack; Python's parser raises


class _UniqueKeys:
    """Part of a loader: a mapping that has a key twice is refused."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)  # type: ignore[call-arg]
        self._checked: set[int] = set()  # mappings; one with an anchor is flattened again wherever it is merged

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse equal keys as they are written, before `<<` adds those that may be overridden."""
        if id(node) not in self._checked:
            self._checked.add(id(node))
            _require_unique_keys(node)
        super().flatten_mapping(node)  # type: ignore[misc]


def _require_unique_keys(node: yaml.MappingNode) -> None:
    first_lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        line = key.start_mark.line + 1
        name = (key.tag, key.value)
        if name in first_lines:
            first = first_lines[name]
            raise yaml.YAMLError(f"`{key.value}` stands in line {first} and again in line {line}: keep one of them")
        first_lines[name] = line


def _require_no_conflict(text: str) -> None:
    """Raise YAMLError that says so where git has left its marks of a conflict."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("<<<<<<< "):
            raise yaml.YAMLError(
                f"line {number} begins a conflict that git has marked: keep one side, or both, and remove the marks"
            )


class _Fast(_UniqueKeys, LOADER):  # type: ignore[misc, valid-type]
    """The loader for texts that nest as people nest."""


class _Deep(_UniqueKeys, yaml.SafeLoader):
    """The loader that raises where a text nests too deeply."""


def parse_yaml(text: str | bytes) -> Any:
    """Return the value of a YAML document, None for an empty one. Raises `yaml.YAMLError`."""
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        return _parsed(text)
    except UnicodeDecodeError as error:
        raise yaml.YAMLError(f"it is not UTF-8 ({error})") from error
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None


def _parsed(text: str) -> Any:
    nesters = sum(text.count(nester) for nester in NESTERS)
    loader: type = _Fast if nesters <= MOST_NESTERS else _Deep
    try:
        return loader(text).get_single_data()
    except yaml.YAMLError:
        _require_no_conflict(text)
        yaml.SafeLoader(text).get_single_data()  # its messages say more
        raise
