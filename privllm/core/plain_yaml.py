"""YAML as plain values, never as objects; read by libyaml where PyYAML was built with it, which takes a tenth of the time."""

from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
NESTERS = ("[", "{", "- -", "? ")
DEEPEST = 2_000  # of them; libyaml ends the process where it runs out of stack, Python's own parser raises


def parse_yaml(text: str | bytes) -> Any:
    """The value of a YAML document, None for nothing. Raises `yaml.YAMLError`, in the words of PyYAML's own parser, which says more."""
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        return _parsed(text)
    except UnicodeDecodeError as error:
        raise yaml.YAMLError(f"it is not UTF-8 ({error})") from error
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None


def _parsed(text: str) -> Any:
    loader = LOADER if sum(map(text.count, NESTERS)) <= DEEPEST else yaml.SafeLoader
    try:
        return loader(text).get_single_data()
    except yaml.YAMLError:
        yaml.SafeLoader(text).get_single_data()
        raise
