"""One rating or vote through the door: texts tidied and without personal data, and refused where they carry an attack or nothing.

The door (`CleanText`, `CountPersonalData`) is given, since rooms do not import each other: it is the one that documents go through. Markup is never
executed and our own tokenizer cannot be injected; but what is learnt is said again, to a page or to another model, so these are refused:
control tokens of any chat format, and active HTML. HTML within code (a fence, or back ticks) is a sample and is kept; control tokens are
refused there too. Control characters and invisible ones are removed, as from documents.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from privllm.core.seed import name_digest
from privllm.feedback.reading import ParsedLine, RefusedLine, SourceLine
from privllm.feedback.records import Message, ModelReply, Rating, Vote

CleanText = Callable[[str], tuple[str, dict[str, int]]]  # text -> (text, how many placeholders of each kind)
CountPersonalData = Callable[[str], dict[str, int]]  # text -> how much personal data of each kind is still in it

CONTROL_TOKEN = re.compile(r"<[|｜][\w▁/ -]{1,40}[|｜]>|</?(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>")
# What people send may not cost more than its length, and padding it may not hide anything: where a quantifier has no bound it is
# possessive, or cannot pass the next place at which a match could begin.
HANDLERS = "abort|animation|before|blur|change|click|copy|drag|drop|error|focus|input|key|load|mouse|paste|pointer|submit|toggle|touch"
ACTIVE_HTML = re.compile(
    rf"</?(?:script|iframe|embed)\b|<object\s++(?:data|type|classid)\b|<[a-z][^<>]*?[\s/\"']on(?:{HANDLERS})[a-z]{{0,20}}\s*+=|"
    r"(?:href|src|action)\s*+=\s*+[\"']?\s*+(?:javascript|vbscript|data\s*+:\s*+text/html)",
    re.IGNORECASE,
)
CODE = re.compile(r"^[ \t]*+(`{3,}+|~{3,}+)[^\n]*+\n.*?(?:^[ \t]*+\1|\Z)|(?<!`)`[^`\n]++`(?!`)", re.DOTALL | re.MULTILINE)


class ScreenedRecord(NamedTuple):
    line: SourceLine
    key: str  # 32 hexadecimal digits of kind, rater and id
    rater: str  # a pseudonym: 16 hexadecimal digits of what the person was called
    opening: str  # 32 hexadecimal digits of the conversation's first question; it decides the split
    record: Rating | Vote  # with tidy texts
    placeholders: Counter[str]


def screen(entry: ParsedLine, tidy: CleanText, left_over: CountPersonalData) -> ScreenedRecord | RefusedLine:
    """`entry` without personal data, or why it is refused.

    `left_over` is the second pair of eyes: it refuses a record where the build's validation would stop for all of them.
    """
    placeholders: Counter[str] = Counter()

    def clean(text: str) -> str:
        text, found = tidy(text)
        placeholders.update(found)
        return text

    record = with_texts(entry.record, clean)
    if fault := markup_of(record) or emptiness_of(record) or leftovers_of(record, left_over):
        return RefusedLine(entry.line, *fault)
    first = next(message.content for message in record.messages if message.role == "user")
    kind = type(record).__name__
    return ScreenedRecord(
        entry.line,
        name_digest(kind, record.rater, record.id),
        name_digest("rater", record.rater)[:16],
        name_digest("opening", " ".join(first.casefold().split())),
        record,
        placeholders,
    )


def with_texts(record: Rating | Vote, change: Callable[[str], str]) -> Rating | Vote:
    messages = tuple(Message(message.role, change(message.content)) for message in record.messages)
    if isinstance(record, Vote):
        left, right = (ModelReply(side.model, change(side.text)) for side in (record.left, record.right))
        return replace(record, messages=messages, left=left, right=right, reason=change(record.reason))
    correction, reason = change(record.correction), change(record.reason)
    return replace(record, messages=messages, reply=change(record.reply), correction=correction, reason=reason)


def texts_of(record: Rating | Vote) -> list[str]:
    """Every text that is anybody's words."""
    said = [message.content for message in record.messages]
    own = [record.left.text, record.right.text] if isinstance(record, Vote) else [record.reply, record.correction]
    return [*said, *own, record.reason]


def markup_of(record: Rating | Vote) -> tuple[str, str] | None:
    for text in texts_of(record):
        if "<" not in text and "[" not in text and "=" not in text:
            continue
        if CONTROL_TOKEN.search(text):
            return "control_token", "a text holds what a chat format takes for its own mark"
        if ACTIVE_HTML.search(CODE.sub("", text)):
            return "active_html", "a text holds HTML that a browser would run, outside code"
    return None


def leftovers_of(record: Rating | Vote, left_over: CountPersonalData) -> tuple[str, str] | None:
    found = sorted({kind for text in texts_of(record) for kind, count in left_over(text).items() if count})
    return ("personal_data", f"still in it: {', '.join(found)}") if found else None


def emptiness_of(record: Rating | Vote) -> tuple[str, str] | None:
    users = [message for message in record.messages if message.role == "user"]
    if not users or record.messages[-1].role != "user":
        return "no_prompt", "the last message is not a person's"
    if not all(message.content.strip() for message in users):
        return "empty", "a person's message is empty"
    if isinstance(record, Vote):
        if record.left.text == record.right.text:
            return "same_replies", "both replies are equal, so the vote compares nothing"
        return None
    if not record.thumb and not record.correction.strip():
        return "empty", "neither a thumb nor a correction"
    return None
