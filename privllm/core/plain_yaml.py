"""Reader of YAML as plain values, never as objects.

libyaml is used where PyYAML was built with it: it is ten times faster.
"""

from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
NESTERS = ("[", "{", "- -", "? ")
MOST_NESTERS = 2_000  # in a text for libyaml, which ends the process where it runs out of stack; Python's parser raises


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
    loader = LOADER if nesters <= MOST_NESTERS else yaml.SafeLoader
    try:
        return loader(text).get_single_data()
    except yaml.YAMLError:
        yaml.SafeLoader(text).get_single_data()  # its messages say more
        raise
