"""Why a stage would run, as a sentence for people and as values for programs.

Differences between what the last build recorded and what is there now: parameters, code, libraries. Pure functions of both.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

FEW = 3  # names in a sentence; the JSON has all


class Cause(NamedTuple):
    kind: str  # never built, command, parameter, code, library, python, documents, input, output, always
    says: str  # a sentence without its full stop
    values: dict[str, Any]  # the same for programs, JSON


def parameters(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Cause]:
    """Values that differ, by dotted key. Both are {section: values}; a value that is missing is None."""
    before, after = flat(old), flat(new)
    keys = [key for key in sorted(before.keys() | after.keys()) if before.get(key, ...) != after.get(key, ...)]  # None is a value
    return [
        Cause(
            "parameter",
            f"{key}: {_shown(before, key)} -> {_shown(after, key)}",
            {"key": key, "old": before.get(key), "new": after.get(key)},
        )
        for key in keys
    ]


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{dotted key: value}; lists and empty mappings are values."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) and value else {f"{prefix}{key}": value}
    return found


def _shown(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key], ensure_ascii=False, default=str) if key in values else "(none)"


def fingerprints(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Cause]:
    """What differs between two fingerprints of a stage: symbols (modules where a fingerprint has none), libraries, Python."""
    found = []
    if names := symbols(old, new):
        found.append(Cause("code", listed(names), {"symbols": names}))
    before, after = old.get("libraries", {}), new.get("libraries", {})
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            values = {"name": name, "old": before.get(name), "new": after.get(name)}
            found.append(Cause("library", f"{name} {before.get(name, '(none)')} -> {after.get(name, '(none)')}", values))
    if old.get("python") != new.get("python"):
        values = {"old": old.get("python"), "new": new.get("python")}
        found.append(Cause("python", f"Python {values['old']} -> {values['new']}", values))
    return found


def symbols(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Sentences such as "privllm.clean.pii.redact changed" about two fingerprints, module after module."""
    found = []
    for module in sorted(old["modules"].keys() | new["modules"].keys()):
        if old["modules"].get(module) == new["modules"].get(module):
            continue
        if module not in old["modules"] or module not in new["modules"]:
            found.append(f"{module} is {'imported now' if module in new['modules'] else 'no longer imported'}")
            continue
        before, after = (side.get("symbols", {}).get(module) for side in (old, new))
        found += _within(module, before, after) if before and after else [f"{module} changed"]
    return found


def _within(module: str, before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    names = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    words = {name: "added" if name not in before else "removed" if name not in after else "changed" for name in names}
    # A definition that comes or goes changes the outline it stands in too; that says nothing more.
    outer = {name.rpartition(".")[0] or "<module>" for name, word in words.items() if word != "changed"}
    return [
        f"{module} changed outside its functions and classes" if name == "<module>" else f"{module}.{name} {word}"
        for name, word in words.items()
        if not (word == "changed" and name in outer)
    ]


def listed(names: list[str], few: int = FEW) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - few
    return ", ".join(names[:few]) + (f" and {more:,} more" if more > 0 else "")
