"""Causes for which a stage would run, as a sentence for people and as values for programs.

Pure functions of what the last build recorded and what there is now: parameters, code, libraries.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

FEW = 3  # names in a sentence; the JSON has all


class Cause(NamedTuple):
    """One reason for which a stage would run."""

    kind: str  # never built, command, parameter, code, library, python, documents, input, output, always
    says: str  # a sentence without its full stop
    values: dict[str, Any]  # the same for programs, JSON


def parameters(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> list[Cause]:
    """Return the values that differ, by dotted key. Both are {section: values}; a missing value is None."""
    before, after = flat(recorded), flat(current)
    causes = []
    for key in sorted(before.keys() | after.keys()):
        if before.get(key, ...) == after.get(key, ...):  # None is a value
            continue
        says = f"{key}: {_value_text(before, key)} -> {_value_text(after, key)}"
        causes.append(Cause("parameter", says, {"key": key, "old": before.get(key), "new": after.get(key)}))
    return causes


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return {dotted key: value}; lists and empty mappings are values."""
    flat_values: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat_values |= flat(value, f"{prefix}{key}.")
        else:
            flat_values[f"{prefix}{key}"] = value
    return flat_values


def _value_text(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key], ensure_ascii=False, default=str) if key in values else "(none)"


def fingerprints(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> list[Cause]:
    """Return what differs between two fingerprints of a stage: symbols, libraries, Python.

    Whole modules stand for symbols where a fingerprint has none.
    """
    causes = []
    names = symbols(recorded, current)
    if names:
        causes.append(Cause("code", listed(names), {"symbols": names}))
    before, after = recorded.get("libraries", {}), current.get("libraries", {})
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            says = f"{name} {before.get(name, '(none)')} -> {after.get(name, '(none)')}"
            values = {"name": name, "old": before.get(name), "new": after.get(name)}
            causes.append(Cause("library", says, values))
    programs_before, programs_after = recorded.get("programs", {}), current.get("programs", {})
    for name in sorted(programs_before.keys() | programs_after.keys()):
        old, new = programs_before.get(name), programs_after.get(name)
        if old != new:
            says = f"{name}: {old or '(not asked for)'} -> {new or '(not asked for)'}"
            causes.append(Cause("program", says, {"name": name, "old": old, "new": new}))
    if recorded.get("python") != current.get("python"):
        values = {"old": recorded.get("python"), "new": current.get("python")}
        causes.append(Cause("python", f"Python {values['old']} -> {values['new']}", values))
    return causes


def symbols(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Return sentences such as "privllm.clean.pii.redact changed", module by module."""
    modules_before, modules_after = recorded["modules"], current["modules"]
    sentences: list[str] = []
    for module in sorted(modules_before.keys() | modules_after.keys()):
        if modules_before.get(module) == modules_after.get(module):
            continue
        before = recorded.get("symbols", {}).get(module)
        after = current.get("symbols", {}).get(module)
        if module not in modules_before:
            sentences.append(f"{module} is imported now")
        elif module not in modules_after:
            sentences.append(f"{module} is no longer imported")
        elif before and after:
            sentences += _changes_within(module, before, after)
        else:
            sentences.append(f"{module} changed")
    return sentences


def _changes_within(module: str, before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return a sentence for each symbol of a module that was added, removed or changed."""
    changes: dict[str, str] = {}
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            changes[name] = "added"
        elif name not in after:
            changes[name] = "removed"
        elif before[name] != after[name]:
            changes[name] = "changed"
    # A definition that is added or removed also changes the class or module around it: not worth a sentence.
    surroundings = set()
    for name, change in changes.items():
        if change != "changed":
            surroundings.add(name.rpartition(".")[0] or "<module>")
    sentences = []
    for name, change in changes.items():
        if change == "changed" and name in surroundings:
            continue
        if name == "<module>":
            sentences.append(f"{module} changed outside its functions and classes")
        else:
            sentences.append(f"{module}.{name} {change}")
    return sentences


def listed(names: list[str], few: int = FEW) -> str:
    """Return the first few names, and how many more there are."""
    more_count = len(names) - few
    text = ", ".join(names[:few])
    return f"{text} and {more_count:,} more" if more_count > 0 else text
