"""Quality rules of a project's own: the dict QUALITY_RULES of its extensions, `{name: rule}`.

A rule is a pure function of a clean text and its language (an ISO 639-1 code, "" where it is
unknown). It returns None to keep the document, or a detail for the list of dropped documents; its
name is the reason by which they are counted. It is asked after privllm's own rules, and drops a
document in both profiles.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache

from privllm.clean.quality import REASONS, Fault
from privllm.engine.extensions import Extensions
from privllm.engine.load_extensions import Entry, entries_of

QualityRule = Callable[[str, str], str | None]
NAME = re.compile(r"[a-z][a-z0-9_]*")


@cache
def quality_rules(extensions: Extensions) -> Mapping[str, Entry]:
    """Return the rules by name. Raises UserError for one that cannot be used, and for a name that is taken."""
    rules = entries_of("QUALITY_RULES", extensions)
    for name, entry in rules.items():
        entry.require(name not in REASONS, "is a reason of privllm's own: give the rule another name")
        entry.require(NAME.fullmatch(name) is not None, "must be a name of small letters, digits and _")
        entry.require(callable(entry.value), "must be a function of a text and its language")
    return rules


def own_fault_of(extensions: Extensions, text: str, language: str) -> Fault | None:
    """Return the first own rule that `text` breaks, None if it breaks none."""
    for name, entry in quality_rules(extensions).items():
        with entry.blamed("a document"):
            detail = entry.value(text, language)
        entry.require(
            detail is None or isinstance(detail, str), f"returned {detail!r}: it must be a text that says why, or None"
        )
        if detail is not None:
            return name, detail
    return None
