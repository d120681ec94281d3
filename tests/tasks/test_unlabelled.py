"""Lines without answers are read as strictly as a dataset's, one by one."""

import io

import pytest

from privllm.core.errors import UserError
from privllm.tasks.formats import Chat, Classified, InputOutput, Tagged
from privllm.tasks.row_files import MAX_LINE_BYTES
from privllm.tasks.unlabelled import read_inputs

ASKED = [
    ("classification", b'{"text": "red"}', Classified("red", "?")),
    ("classification", b'{"text": "red", "label": "colour"}', Classified("red", "?")),
    ("tokens", b'{"tokens": ["Ada", "wrote"]}', Tagged(("Ada", "wrote"), ("O", "O"))),
    ("tokens", b'{"tokens": ["Ada"], "labels": ["B-PER"]}', Tagged(("Ada",), ("O",))),
    ("tokens", b'{"tokens": ["Ada", null], "labels": ["O", "B-PER"]}', Tagged(("Ada", None), ("O", "O"))),
    ("text2text", b'{"input": "a"}', InputOutput("a", "?")),
    ("text2text", b'{"input": "a", "output": "b"}', InputOutput("a", "?")),
    ("chat", b'{"messages": [{"role": "user", "content": "hi"}]}', Chat((("user", "hi"), ("assistant", "?")))),
    ("chat", b'{"messages": [{"from": "human", "value": "hi"}]}', Chat((("user", "hi"), ("assistant", "?")))),
    (
        "chat",
        b'{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}',
        Chat((("user", "hi"), ("assistant", "?"))),
    ),
]


@pytest.mark.parametrize(("kind", "line", "content"), ASKED)
def test_a_line_is_read_and_its_answer_is_not_looked_at(kind: str, line: bytes, content: object) -> None:
    (example,) = read_inputs(io.BytesIO(b"\xef\xbb\xbf" + line + b"\n\n"), "x", kind)
    assert (example.line, example.id, example.content) == (1, "", content)


def test_ids_come_back_and_lines_are_counted() -> None:
    stream = io.BytesIO(b'\n{"text": "a", "id": "7"}\n{"text": "a"}')
    assert [(example.line, example.id) for example in read_inputs(stream, "x", "classification")] == [(2, "7"), (3, "")]


def test_a_stream_is_read_line_by_line() -> None:
    lines = read_inputs(io.BytesIO(b'{"text": "a"}\nnonsense\n'), "x", "classification")
    assert next(lines).content == Classified("a", "?")
    with pytest.raises(UserError, match="x, line 2: it is not JSON"):
        next(lines)


@pytest.mark.parametrize(
    ("kind", "line", "said"),
    [
        ("classification", b'{"txt": "a"}', '"text" is missing and "txt" is unknown'),
        ("classification", b"[]", "it must be a JSON object"),
        ("tokens", b'{"tokens": "Ada"}', "must be a list of strings"),
        ("tokens", b'{"tokens": []}', "must be a list of strings"),
        ("chat", b'{"messages": []}', "must be a list that is not empty"),
        ("chat", b'{"messages": [{"role": "assistant", "content": "hi"}]}', "no question"),
        ("chat", b'{"messages": [{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}]}', "no question"),
        (
            "chat",
            b'{"messages": [{"role": "tool", "content": "b"}, {"role": "user", "content": "a"}]}',
            "messages of tools",
        ),
        ("text2text", b'{"input": " "}', '"input" must be a string with something in it'),
        ("text2text", b'{"input": "a", "id": 3}', '"id" must be a string'),
        ("text2text", b'{"input": "' + b"a" * MAX_LINE_BYTES + b'"}', "longer than"),
    ],
)
def test_a_wrong_line_is_named(kind: str, line: bytes, said: str) -> None:
    with pytest.raises(UserError, match="x, line 1") as raised:
        list(read_inputs(io.BytesIO(line), "x", kind))
    assert said in str(raised.value)
