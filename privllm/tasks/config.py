"""Parameters of derived tasks, and the checks of their patterns and templates."""

import re
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from privllm.core.params import WrongValue, require

PASSAGE = "passage"  # the group that a text cut into passages gives
TEMPLATES: dict[str, tuple[str, ...]] = {
    "classification": ("text", "label"),
    "tokens": (),
    "text2text": ("input", "output"),
    "chat": ("user", "assistant"),
}
HAVE_ANSWERS = ("text2text", "chat")  # kinds whose examples have an answer in words
SLOT = re.compile(r"\{(\w+)\}")
NAME = re.compile(r"[a-z][a-z0-9_]*")

JsonLine = dict[str, Any]
PlacedExample = tuple[int, JsonLine]  # place in the document, the fields of the example's kind


@dataclass
class DeriveConfig:
    kind: str = "text2text"  # classification, text2text or chat, by patterns; tokens: sentences with parts of speech, where annotated
    source: str = ""  # RE2 pattern a document's path must match; its named groups can be used in `templates`; empty: all documents
    # RE2 pattern tried from the start of every line; empty: the text is cut into passages, group `passage`
    text: str = ""
    window: int = 500  # characters that `text` sees from there on, or of a passage, [20, 10000]
    # what the example's parts are made of; of several one by hash
    templates: dict[str, list[str]] = field(default_factory=dict)
    hide: str = ""  # a group whose words are taken out of a classification's text; empty: none
    hidden: float = 0.0  # of kind tokens: share of words that are hidden, and alone are asked for, [0, 1]; 0: all words are shown and asked
    min_words: int = 1  # an example's input has at least, >= 0
    per_document: int = 40  # examples of one document at most, by hash, [1, 1000000]
    max_examples: int = 20_000  # of all documents together at most, by hash, [1, 10000000]
    min_examples: int = 0  # of a label, to train on; labels with fewer are dropped and counted, >= 0

    def check(self, where: str) -> None:
        """Raise UserError, which names the key below `where`, for a value that is not allowed."""
        require(self.kind in TEMPLATES, f"{where}.kind", ", ".join(TEMPLATES))
        self._check_templates(where)
        require(0 <= self.hidden <= 1, f"{where}.hidden", "a share between 0 and 1")
        if self.kind == "tokens":
            require(not (self.text or self.hide), where, "text and hide empty")
        else:
            require(not self.hidden, where, "hidden: 0, which is of the kind tokens")
        require(20 <= self.window <= 10_000, f"{where}.window", "between 20 and 10000 characters")
        require(1 <= self.per_document <= 1_000_000, f"{where}.per_document", "between 1 and 1000000")
        require(1 <= self.max_examples <= 10_000_000, f"{where}.max_examples", "between 1 and 10000000")
        require(self.min_words >= 0, f"{where}.min_words", "0 or more")
        require(self.min_examples >= 0, f"{where}.min_examples", "0 or more")
        self._check_groups(where)

    def _check_templates(self, where: str) -> None:
        fields = TEMPLATES[self.kind]
        non_empty = {key for key, choices in self.templates.items() if choices}
        rule = f"one list or more of texts under each of {' and '.join(fields)}"
        require(non_empty == set(fields), f"{where}.templates", rule)

    def _check_groups(self, where: str) -> None:
        groups = groups_of(self.source, f"{where}.source")
        groups |= groups_of(self.text, f"{where}.text") if self.text else {PASSAGE}
        used = {self.hide} if self.hide else set()
        for choices in self.templates.values():
            for template in choices:
                used.update(SLOT.findall(template))
        require(used <= groups, where, f"made of groups that its patterns name: {', '.join(sorted(groups))}")


@dataclass
class TasksConfig:
    derive: dict[str, DeriveConfig] = field(default_factory=dict)  # by the task's name

    def __post_init__(self) -> None:
        for name, task in self.derive.items():
            where = f"tasks.derive.{name}"
            require(bool(NAME.fullmatch(name)), where, "a name of small letters, digits and _")
            task.check(where)


def groups_of(pattern: str, key: str) -> set[str]:
    """Return the names of the groups of an RE2 pattern.

    Raises UserError for one that RE2 does not take or that leaves a group unnamed.
    """
    if not pattern:
        return set()
    try:
        extracted = pc.extract_regex(pa.array([""]), pattern)
    except pa.ArrowInvalid as error:
        why = str(error).strip().rstrip(".")
        raise WrongValue(key, f"is no RE2 pattern with named groups `(?P<name>...)`: {why}") from None
    return {group.name for group in extracted.type}
