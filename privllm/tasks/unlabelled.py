"""What a tuned model is asked: the lines of a dataset (`formats`), without the answers.

    classification  {"text": "..."}
    tokens          {"tokens": ["...", ...]}, null for a hidden word
    text2text       {"input": "..."}
    chat            {"messages": [..., {"role": "user", "content": "..."}]}

Any line may have "id". A line that has its answer, as those of a dataset do, is taken too, and the answer is not looked at. Lines are
read as strictly as a dataset's, but one by one, so that a stream needs no end. It answers nothing.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, BinaryIO

from privllm.core.bio_labels import OUTSIDE
from privllm.core.errors import UserError
from privllm.tasks.formats import MAX_LINE_BYTES, Chat, Example, InvalidLine, error_at, example_of, parse

UNKNOWN = "?"  # stands where an answer would
ASKED = {
    "classification": '{"text": "..."}',
    "tokens": '{"tokens": ["Ada", "wrote"]}',
    "text2text": '{"input": "..."}',
    "chat": '{"messages": [{"role": "user", "content": "..."}]}',
}


def read_inputs(file: BinaryIO, name: str, kind: str) -> Iterator[Example]:
    """The examples that the lines ask for, with UNKNOWN (or OUTSIDE) for an answer and the line's own id or "". Raises UserError."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise error_at(name, number, f"it is longer than {MAX_LINE_BYTES:,} bytes")
        if line.strip():
            try:
                yield _asked(number, parse(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line), kind)
            except InvalidLine as fault:
                raise UserError(f"{name}, line {number}: {fault}. What is asked of this model looks like {ASKED[kind]}.") from None


def _asked(number: int, value: Any, kind: str) -> Example:
    own = str(value.get("id", "")) if isinstance(value, dict) else ""
    example, _ = example_of(number, _answered(value, kind), kind)
    content = example.content
    if isinstance(content, Chat):
        content = Chat((*content.turns[:-1], ("assistant", UNKNOWN)))
    return replace(example, id=own, content=content)


def _answered(value: Any, kind: str) -> Any:
    """The line with UNKNOWN for its answer, whatever it says itself."""
    if not isinstance(value, dict):
        return value
    if kind == "classification":
        return {**value, "label": UNKNOWN}
    if kind == "tokens":
        tokens = value.get("tokens")
        return {**value, "labels": [OUTSIDE] * (len(tokens) if isinstance(tokens, list) else 1)}
    if kind == "text2text":
        return {**value, "output": UNKNOWN}
    said = value.get("messages")
    if isinstance(said, list) and said and isinstance(said[-1], dict) and said[-1].get("role") == "user":
        return {**value, "messages": [*said, {"role": "assistant", "content": UNKNOWN}]}
    return value
