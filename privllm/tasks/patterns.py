r"""Examples of one document by RE2 patterns and templates.

    pattern of the path  (?P<module>\w+)\.html
    pattern of the text  (?P<name>\w+)\((?P<arguments>.*)\)
    templates            {"input": ["What does {name} in {module} take?"], "output": ["{arguments}"]}

A text without a pattern is cut into passages. Nothing is read or written here.
"""

import re

import pyarrow as pa
import pyarrow.compute as pc

from privllm.core.seed import seed_of
from privllm.tasks.config import PASSAGE, SLOT, TEMPLATES, DeriveConfig, JsonLine, PlacedExample


def examples_by_pattern(
    cfg: DeriveConfig,
    identifier: str,
    source_groups: dict[str, str],
    text: str,
) -> list[PlacedExample]:
    """Return an example for each place where the task's pattern matches the text.

    `source_groups` are the groups that the document's path gave.
    """
    examples = []
    for place, groups in enumerate(_groups_of_places(cfg, text)):
        if groups is None:
            continue
        example = _fill(cfg, {**source_groups, **groups}, seed_of(identifier, place))
        if example:
            examples.append((place, example))
    return examples


def _groups_of_places(cfg: DeriveConfig, text: str) -> list[dict[str, str] | None]:
    """Return the named groups of each line's window, None where it does not match, or of each passage."""
    if cfg.text:
        return extract(_windows(text, cfg.window), cfg.text)
    return [{PASSAGE: passage} for passage in _passages(text, cfg.window)]


def _windows(text: str, size: int) -> list[str]:
    """Return the first `size` characters from the start of each line on."""
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    return [text[start : start + size] for start in starts]


def _passages(text: str, size: int) -> list[str]:
    """Return pieces of at most `size` characters, cut at white space where there is some."""
    passages = []
    passage = ""
    for word in text.split():
        if passage and len(passage) + 1 + len(word) > size:
            passages.append(passage)
            passage = ""
        passage = f"{passage} {word}"[:size] if passage else word[:size]
    return [*passages, passage] if passage else passages


def extract(texts: list[str], pattern: str) -> list[dict[str, str] | None]:
    """Return, for each text, the named groups of the pattern, or None where it does not match from the start."""
    return pc.extract_regex(pa.array(texts, pa.string()), rf"\A(?:{pattern})").to_pylist()


def _fill(cfg: DeriveConfig, groups: dict[str, str], seed: int) -> JsonLine | None:
    """Return an example made from templates; None where one of its fields comes out empty."""
    values = {name: " ".join(value.split()) for name, value in groups.items()}
    without_hidden = _without_words_of(values[cfg.hide], values) if cfg.hide else values
    fields = {}
    for name in TEMPLATES[cfg.kind]:
        choices = cfg.templates[name]
        template = choices[seed % len(choices)]
        fields[name] = _fill_template(template, values if name == "label" else without_hidden)
    if not all(fields.values()):
        return None
    if cfg.kind == "chat":
        return {"messages": [{"role": role, "content": fields[role]} for role in TEMPLATES["chat"]]}
    return fields


def _fill_template(template: str, values: dict[str, str]) -> str:
    return SLOT.sub(lambda slot: values[slot[1]], template).strip()


def _without_words_of(hidden: str, values: dict[str, str]) -> dict[str, str]:
    """Return the values without the words of the text `hidden`, in any case or compound."""
    words = {word for word in re.split(r"[\W_]+", hidden) if word}
    if not words:
        return values
    pattern = re.compile("|".join(rf"\w*{re.escape(word)}\w*" for word in sorted(words)), re.IGNORECASE)
    return {name: " ".join(pattern.sub(" ", value).split()) for name, value in values.items()}
