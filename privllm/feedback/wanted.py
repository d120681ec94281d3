"""Which records somebody asks about: by a person, an id, or words.

A record counts in whatever state it is: as the database holds it, as a line of a file, or as a line
that is no record at all. Nothing is removed here.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from privllm.core.json_strings import strings_in
from privllm.core.seed import digest, name_digest


@dataclass(frozen=True)
class Wanted:
    """What is asked for; exactly one of the fields is not empty."""

    rater: str = ""  # a name, or a pseudonym as raters.jsonl has it
    identifier: str = ""  # of a rating or vote, or a row's id in data/feedback_clean
    text: str = ""  # words that stand anywhere in it; neither case nor white space matters

    def selects(self, plain: Any, line: str) -> bool:
        """Return whether a line is asked for; `plain` is what it holds as JSON, None where it is none."""
        if self.text:
            words = _normalised(self.text)
            texts = [line] if plain is None else strings_in(plain)
            return any(words in _normalised(text) for text in texts)
        if not isinstance(plain, dict):  # a line that was torn: what is left of it may still name them
            return _is_named_in(line, "id", self.identifier) or _is_named_in(line, "rater", self.rater)
        if self.identifier:
            return self.identifier in (plain.get("id"), record_key(plain, line))
        rater = str(plain.get("rater"))
        return self.rater in (rater, pseudonym_of(rater))


def _is_named_in(line: str, field: str, value: str) -> bool:
    """Return whether a line that is no JSON has `field` with this value."""
    written = {json.dumps(value, ensure_ascii=escaped) for escaped in (True, False)}
    patterns = (rf'"{field}"\s*:\s*{re.escape(text)}' for text in written)
    return bool(value) and any(re.search(pattern, line) for pattern in patterns)


def pseudonym_of(rater: str) -> str:
    return name_digest("rater", rater)[:16]


def record_key(plain: Any, line: str) -> str:
    """Return what `screening` makes the record's id in every output; of another line, its digest."""
    if not isinstance(plain, dict):
        return digest(line.encode("utf-8", "surrogatepass"))
    kind = "Vote" if "choice" in plain else "Rating"
    return name_digest(kind, str(plain.get("rater")), str(plain.get("id")))


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split())
