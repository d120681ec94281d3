"""Forms in which the world writes examples: a table of recognisers, and which of them a file has.

Each tells a form by its columns, and turns a row into a line of `formats` ({"text", "label"}, {"tokens", "labels"}, {"input", "output"},
{"messages"}). Nothing is guessed: a file of which no form can be told, or more than one, is refused, with its columns.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from privllm.core.errors import UserError
from privllm.core.seed import digest
from privllm.tasks.chat_turns import EMPTY_LINE
from privllm.tasks.line_faults import InvalidLine, quoted, text_of

Row = dict[str, Any]
COMMON = ("id", "group", "split")  # of any form, where they are there
VALIDATION = ("dev", "val", "valid")  # other names of that split
SYSTEM = "system"
TEXTS, LABELS, TAGS = ("text", "sentence", "content"), ("label", "labels", "category"), ("labels", "ner_tags", "tags")
PAIRS = (("input", "output"), ("source", "target"), ("document", "summary"), ("article", "highlights"))
ANSWERS = ("answers", "answer")
MANY = 12  # columns that a message names


class Form(NamedTuple):
    """A way to write examples of one kind."""

    name: str
    columns: tuple[str, ...]  # that tell it
    native: Callable[[Row], Row]  # a row that has them, to a line of `formats`
    optional: tuple[str, ...] = ()  # further columns that it reads

    def reads(self, columns: Iterable[str]) -> frozenset[str]:
        """Return those of the columns that the form reads."""
        return frozenset(columns) & {*self.columns, *self.optional}


class Told(NamedTuple):
    """The form of a file, and what is not read of it."""

    form: Form
    ignored: tuple[str, ...]


def _renamed(row: Row, **columns: str) -> Row:
    """Return {our name: the value of its column}."""
    return {name: row[column] for name, column in columns.items()}


def _messages(row: Row, column: str) -> Row:
    messages = row[column]
    if isinstance(messages, list):
        messages = [*_system(row), *messages]
    return {"messages": messages}


def _exchange(row: Row, question: str, answer: str) -> Row:
    return _conversation(row, text_of(row[question], f'"{question}"'), row[answer], answer)


def _alpaca(row: Row) -> Row:
    return _conversation(row, _instruction(row), row["output"], "output")


def _alpaca_pair(row: Row) -> Row:
    return {"input": _instruction(row), "output": row["output"]}


def _instruction(row: Row) -> str:
    """Return the instruction, with its input, where there is one, below an empty line."""
    text = text_of(row["instruction"], '"instruction"')
    more = row.get("input")
    if more is None or more == "":
        return text
    return text + EMPTY_LINE + text_of(more, '"input"')


def _conversation(row: Row, question: str, answer: Any, column: str) -> Row:
    asked = {"role": "user", "content": question}
    reply = {"role": "assistant", "content": text_of(answer, f'"{column}"')}
    return {"messages": [*_system(row), asked, reply]}


def _system(row: Row) -> list[Row]:
    text = row.get(SYSTEM)
    return [{"role": "system", "content": text}] if text else []


def _squad(row: Row, column: str) -> Row:
    """Return the question, its context below an empty line, and the first of the answers.

    Questions about one context are a group.
    """
    question = text_of(row["question"], '"question"')
    context = text_of(row["context"], '"context"')
    output = _first_answer(row[column])
    group = digest(context.encode())
    return {"input": question + EMPTY_LINE + context, "output": output, "question": question, "group": group}


def _first_answer(answers: Any) -> Any:
    """Return the first answer of SQuAD's {"text": [...]}, of [{"text": ...}], of a list of texts, or of a text."""
    texts = answers.get("text") if isinstance(answers, dict) else answers
    if isinstance(texts, str):
        return texts
    if not isinstance(texts, list):
        raise InvalidLine('its answers must be {"text": [...]}, a list, or a string', "wrong_type")
    if not texts:
        raise InvalidLine("it has no answer", "no_answer")
    return texts[0].get("text") if isinstance(texts[0], dict) else texts[0]


FORMS: dict[str, tuple[Form, ...]] = {
    "classification": tuple(
        Form(f"{text} and {label}", (text, label), partial(_renamed, text=text, label=label))
        for text, label in product(TEXTS, LABELS)
    ),
    "tokens": tuple(Form(f"tokens and {tags}", ("tokens", tags), partial(_renamed, tokens="tokens", labels=tags)) for tags in TAGS),
    "text2text": (
        *(Form(f"{a} and {b}", (a, b), partial(_renamed, input=a, output=b)) for a, b in PAIRS),
        Form("Alpaca", ("instruction", "output"), _alpaca_pair, ("input",)),
        *(Form(f"SQuAD with {column}", ("question", "context", column), partial(_squad, column=column)) for column in ANSWERS),
    ),
    "chat": (
        Form("OpenAI messages", ("messages",), partial(_messages, column="messages"), (SYSTEM,)),
        Form("ShareGPT conversations", ("conversations",), partial(_messages, column="conversations"), (SYSTEM,)),
        Form("Alpaca", ("instruction", "output"), _alpaca, ("input", SYSTEM)),
        Form("prompt and completion", ("prompt", "completion"), partial(_exchange, question="prompt", answer="completion"), (SYSTEM,)),
        Form("question and answer", ("question", "answer"), partial(_exchange, question="question", answer="answer"), (SYSTEM,)),
    ),
}  # fmt: skip


def native(form: Form, row: Row) -> Row:
    """Return the row as a line of `formats`, with its id, group and split. Raises InvalidLine."""
    missing = [column for column in form.columns if row.get(column) is None]
    if missing:
        raise InvalidLine(f"{quoted(missing)} is missing", "missing")
    line = form.native(row)
    for key in COMMON:
        value = row.get(key)
        if value is not None:
            is_number = isinstance(value, int) and not isinstance(value, bool)
            line[key] = str(value) if is_number else value
    if line.get("split") in VALIDATION:
        line["split"] = "validation"
    return line


def told_form(path: Path, kind: str, rows: Iterable[tuple[int, Row]], unit: str) -> Told | None:
    """Return the form that all rows have of which one can be told; None where there is no row.

    A form that reads only some of what another reads is not meant. Raises UserError where no form can be told, or several.
    """
    first_of: dict[Form, int] = {}
    forms_of: dict[frozenset[str], list[Form]] = {}
    seen: dict[str, None] = {}
    for number, row in rows:
        columns = frozenset(name for name, value in row.items() if value is not None)
        if columns not in forms_of:
            forms_of[columns] = _matching(kind, columns)
            seen |= dict.fromkeys(row)
        for form in forms_of[columns]:
            first_of.setdefault(form, number)
    if not forms_of:
        return None
    if not first_of:
        raise UserError(
            f"{path} has the columns {_listed(seen)}, of which no form of {kind} can be told. Rename them, or choose another "
            f"`kind`. What is read as {kind}: {_all_forms(kind)}."
        )
    if len(first_of) > 1:
        raise UserError(
            f"{path} can be read in two ways, {_two(first_of, unit)}. Take out the columns of the one that is not meant."
        )
    (form,) = first_of
    ignored = [name for name in seen if name not in {*form.columns, *form.optional, *COMMON}]
    return Told(form, tuple(ignored))


def _matching(kind: str, columns: frozenset[str]) -> list[Form]:
    forms = [form for form in FORMS[kind] if columns.issuperset(form.columns)]
    read = [form.reads(columns) for form in forms]
    return [form for form, own in zip(forms, read, strict=True) if not any(own < other for other in read)]


def _two(first_of: Mapping[Form, int], unit: str) -> str:
    first, second = list(first_of.items())[:2]
    return f"as {_described(*first, unit)} and as {_described(*second, unit)}"


def _described(form: Form, number: int, unit: str) -> str:
    return f"{form.name} ({quoted(list(form.columns))}, from {unit} {number} on)"


def _listed(columns: Iterable[str]) -> str:
    names = list(columns)
    return quoted(names[:MANY]) + (f" and {len(names) - MANY} more" if len(names) > MANY else "")


def _all_forms(kind: str) -> str:
    return "; ".join(" + ".join(form.columns) for form in FORMS[kind])
