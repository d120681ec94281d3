"""YAML as plain values, never as objects; read by libyaml where PyYAML was built with it, which takes a tenth of the time."""

from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_yaml(text: str | bytes) -> Any:
    """The value of a YAML document, None for nothing. Raises `yaml.YAMLError`."""
    return LOADER(text).get_single_data()
