"""Screening of one rating or vote: texts are cleaned, and records with attacks or without content refused.

`CleanText` and `CountPersonalData` are passed in, since rooms do not import each other: they are the
functions that documents go through. Markup is never executed and our own tokenizer cannot be
injected, but what is learnt is repeated, to a page or to another model. So these are refused:
control tokens of any chat format, and active HTML. HTML within code (a fence, or back ticks) is a
sample and is kept; control tokens are refused there too. Control characters and invisible ones are
removed, as from documents.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from privllm.core.seed import name_digest
from privllm.feedback.reading import ParsedLine, RefusedLine, SourceLine
from privllm.feedback.records import Message, ModelReply, Rating, Vote

CleanText = Callable[[str], tuple[str, dict[str, int]]]  # text -> (text, number of placeholders of each kind)
CountPersonalData = Callable[[str], dict[str, int]]  # text -> amount of personal data of each kind that is still in it
RefusalReason = tuple[str, str]  # reason, detail

CONTROL_TOKEN = re.compile(r"<[|｜][\w▁/ -]{1,40}[|｜]>|</?(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>")
# Matching takes time linear in the text, and padding hides nothing: a quantifier without a bound is
# possessive, or cannot pass the next place at which a match could begin.
HANDLERS = "abort|animation|before|blur|change|click|copy|drag|drop|error|focus|input|key|load|mouse|paste|pointer|submit|toggle|touch"
ACTIVE_HTML = re.compile(
    rf"</?(?:script|iframe|embed)\b|<object\s++(?:data|type|classid)\b|<[a-z][^<>]*?[\s/\"']on(?:{HANDLERS})[a-z]{{0,20}}\s*+=|"
    r"(?:href|src|action)\s*+=\s*+[\"']?\s*+(?:javascript|vbscript|data\s*+:\s*+text/html)",
    re.IGNORECASE,
)
CODE = re.compile(
    r"^[ \t]*+(`{3,}+|~{3,}+)[^\n]*+\n.*?(?:^[ \t]*+\1|\Z)|(?<!`)`[^`\n]++`(?!`)", re.DOTALL | re.MULTILINE
)


class ScreenedRecord(NamedTuple):
    line: SourceLine
    key: str  # 32 hexadecimal digits of kind, rater and id
    rater: str  # a pseudonym: 16 hexadecimal digits of the person's name
    opening: str  # 32 hexadecimal digits of the conversation's first question; it decides the split
    record: Rating | Vote  # with cleaned texts
    placeholders: Counter[str]


def screen(
    parsed: ParsedLine,
    clean_text: CleanText,
    count_personal_data: CountPersonalData,
) -> ScreenedRecord | RefusedLine:
    """Return the record without personal data, or why it is refused.

    `count_personal_data` is a second check: it refuses a record for which the build's validation
    would stop the build.
    """
    placeholders: Counter[str] = Counter()

    def clean(text: str) -> str:
        cleaned, counts = clean_text(text)
        placeholders.update(counts)
        return cleaned

    record = with_texts(parsed.record, clean)
    refusal = markup_of(record) or emptiness_of(record) or leftovers_of(record, count_personal_data)
    if refusal:
        return RefusedLine(parsed.line, *refusal)
    first_question = next(message.content for message in record.messages if message.role == "user")
    kind = type(record).__name__
    return ScreenedRecord(
        parsed.line,
        name_digest(kind, record.rater, record.id),
        name_digest("rater", record.rater)[:16],
        name_digest("opening", " ".join(first_question.casefold().split())),
        record,
        placeholders,
    )


def with_texts(record: Rating | Vote, change: Callable[[str], str]) -> Rating | Vote:
    """Return a copy of the record with `change` applied to every text."""
    messages = tuple(Message(message.role, change(message.content)) for message in record.messages)
    if isinstance(record, Vote):
        return replace(
            record,
            messages=messages,
            left=ModelReply(record.left.model, change(record.left.text)),
            right=ModelReply(record.right.model, change(record.right.text)),
            reason=change(record.reason),
        )
    return replace(
        record,
        messages=messages,
        reply=change(record.reply),
        correction=change(record.correction),
        reason=change(record.reason),
    )


def texts_of(record: Rating | Vote) -> list[str]:
    """Return every text of the record that a person or a model wrote."""
    messages = [message.content for message in record.messages]
    if isinstance(record, Vote):
        return [*messages, record.left.text, record.right.text, record.reason]
    return [*messages, record.reply, record.correction, record.reason]


def markup_of(record: Rating | Vote) -> RefusalReason | None:
    """Return why the record is refused if a text holds a control token or active HTML."""
    for text in texts_of(record):
        if "<" not in text and "[" not in text and "=" not in text:
            continue
        if CONTROL_TOKEN.search(text):
            return "control_token", "a text holds what a chat format takes for its own mark"
        if ACTIVE_HTML.search(CODE.sub("", text)):
            return "active_html", "a text holds HTML that a browser would run, outside code"
    return None


def leftovers_of(record: Rating | Vote, count_personal_data: CountPersonalData) -> RefusalReason | None:
    """Return why the record is refused if a text still holds personal data."""
    kinds: set[str] = set()
    for text in texts_of(record):
        counts = count_personal_data(text)
        kinds.update(kind for kind, count in counts.items() if count)
    if not kinds:
        return None
    return "personal_data", f"still in it: {', '.join(sorted(kinds))}"


def emptiness_of(record: Rating | Vote) -> RefusalReason | None:
    """Return why the record is refused if it has no question or no judgement."""
    questions = [message.content for message in record.messages if message.role == "user"]
    if not questions or record.messages[-1].role != "user":
        return "no_prompt", "the last message is not a person's"
    if not all(question.strip() for question in questions):
        return "empty", "a person's message is empty"
    if isinstance(record, Vote):
        if record.left.text == record.right.text:
            return "same_replies", "both replies are equal, so the vote compares nothing"
        return None
    if not record.thumb and not record.correction.strip():
        return "empty", "neither a thumb nor a correction"
    return None
