"""Inputs of a fine-tuned model: the lines of a dataset (`formats`), without the answers.

    classification  {"text": "..."}
    tokens          {"tokens": ["...", ...]}, null for a hidden word
    text2text       {"input": "..."}
    chat            {"messages": [..., {"role": "user", "content": "..."}]}

Any line may have "id". A line with its answer, as in a dataset, is accepted too, and the answer is
ignored. Lines are read as strictly as a dataset's, but one by one, so that a stream needs no end. No
answers are made here.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, BinaryIO

from privllm.core.bio_labels import OUTSIDE
from privllm.core.errors import UserError
from privllm.tasks.chat_turns import ASSISTANT, USER, role_of
from privllm.tasks.formats import Chat, Example, example_of
from privllm.tasks.line_faults import InvalidLine, error_at
from privllm.tasks.row_files import BOM, MAX_LINE_BYTES, parse

UNKNOWN = "?"  # in place of an answer
ASKED = {
    "classification": '{"text": "..."}',
    "tokens": '{"tokens": ["Ada", "wrote"]}',
    "text2text": '{"input": "..."}',
    "chat": '{"messages": [{"role": "user", "content": "..."}]}',
}


def read_inputs(file: BinaryIO, name: str, kind: str) -> Iterator[Example]:
    """Yield an example for each line, with UNKNOWN (or OUTSIDE) as its answer and the line's "id", or "".

    Raises UserError, which names `name` and the line, for a malformed line.
    """
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise error_at(name, number, f"it is longer than {MAX_LINE_BYTES:,} bytes")
        if number == 1:
            line = line.removeprefix(BOM)
        if not line.strip():
            continue
        try:
            yield _unanswered(number, parse(line), kind)
        except InvalidLine as fault:
            shape = ASKED[kind]
            raise UserError(
                f"{name}, line {number}: {fault}. What is asked of this model looks like {shape}."
            ) from None


def _unanswered(number: int, value: Any, kind: str) -> Example:
    identifier = str(value.get("id", "")) if isinstance(value, dict) else ""
    example, changes = example_of(number, _with_unknown_answer(value, kind), kind)
    if changes["tool_turns"]:
        raise InvalidLine("it has messages of tools, which no model here was tuned on", "tool_turns")
    content = example.content
    if isinstance(content, Chat):
        content = Chat((*content.turns[:-1], ("assistant", UNKNOWN)))
    return replace(example, id=identifier, content=content)


def _with_unknown_answer(value: Any, kind: str) -> Any:
    """Return the line with UNKNOWN as its answer, whether it has one or not."""
    if not isinstance(value, dict):
        return value
    if kind == "classification":
        return {**value, "label": UNKNOWN}
    if kind == "tokens":
        tokens = value.get("tokens")
        count = len(tokens) if isinstance(tokens, list) else 1
        return {**value, "labels": [OUTSIDE] * count}
    if kind == "text2text":
        return {**value, "output": UNKNOWN}
    messages = value.get("messages")
    if not isinstance(messages, list) or not messages:
        return value
    if role_of(messages[-1]) != USER:
        return value
    return {**value, "messages": [*messages, {"role": ASSISTANT, "content": UNKNOWN}]}
