"""Parsers in a process of their own: what goes wrong there costs one file."""

import io
import json
import os
import resource
import signal
from collections.abc import Iterator

import pytest

from privllm.collect import parser_process
from privllm.collect.documents import Unreadable
from privllm.collect.parsed import Parsed
from privllm.collect.parser_process import FRAME, main, parse
from tests.pdf_files import column, pdf_of

GOOD = pdf_of(column(["The harbour is deep."]))


@pytest.fixture(autouse=True)
def _no_child_stays() -> Iterator[None]:
    yield
    child = parser_process._child
    if child:
        child.process.kill()
        child.process.wait()


def child_id() -> int:
    assert parser_process._child
    return parser_process._child.process.pid


def test_one_process_serves_many_files() -> None:
    assert parse("pdf", GOOD).text == "The harbour is deep."
    first = child_id()
    with pytest.raises(Unreadable) as refusal:
        parse("pdf", b"%PDF-1.7")
    assert refusal.value.reason == "damaged"
    assert parse("pdf", GOOD).text == "The harbour is deep."
    assert child_id() == first


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_costs_one_file(number: int) -> None:
    parse("pdf", GOOD)
    os.kill(child_id(), signal.SIGSTOP)
    process = parser_process._child.process  # type: ignore[union-attr]
    os.kill(process.pid, number)
    os.kill(process.pid, signal.SIGCONT)
    process.wait()
    assert parse("pdf", GOOD).text == "The harbour is deep."


def test_a_child_that_ends_while_it_parses_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    parse("pdf", GOOD)
    process = parser_process._child.process  # type: ignore[union-attr]
    monkeypatch.setattr(process, "poll", lambda: None)
    process.kill()
    with pytest.raises(Unreadable) as refusal:
        parse("pdf", GOOD)
    assert (refusal.value.reason, refusal.value.detail) == ("crashed", "its parser ended with code -9")


@pytest.mark.slow
def test_a_parser_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser_process, "CPU_SECONDS", 0.01)
    many = pdf_of(*[column([f"Line {number} of a page that has many." for number in range(50)]) for _ in range(3000)])
    reasons = set()
    while "too_slow" not in reasons:  # the kernel counts whole seconds
        try:
            parse("pdf", many)
        except Unreadable as refusal:
            reasons.add(refusal.reason)
    assert reasons == {"too_slow"}


def test_a_frame_that_is_too_long_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser_process, "MAX_FRAME", 3)
    stream = io.BytesIO(FRAME.pack(4) + b"abcd")
    with pytest.raises(parser_process._TooLong):
        parser_process._read_frame(stream)
    assert stream.read() == b"abcd"
    assert parser_process._read_frame(io.BytesIO(FRAME.pack(3) + b"abc")) == b"abc"


def test_an_answer_that_is_too_long_says_which_limit_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    parse("pdf", GOOD)
    first = child_id()
    with monkeypatch.context() as patch:
        patch.setattr(parser_process, "MAX_FRAME", 10)
        with pytest.raises(Unreadable) as refusal:
            parse("pdf", GOOD)
    assert (refusal.value.reason, refusal.value.detail[-13:]) == ("too_much", "over 10 bytes")
    assert parse("pdf", GOOD).text == "The harbour is deep."
    assert child_id() != first


def test_the_child_limits_its_memory_and_leaves_no_core(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(parser_process.resource, "setrlimit", lambda kind, values: limits.append((kind, values)))
    main(io.BytesIO(), io.BytesIO())
    assert limits == [(resource.RLIMIT_AS, (4 << 30, 4 << 30)), (resource.RLIMIT_CORE, (0, 0))]


def answers(monkeypatch: pytest.MonkeyPatch, parser: object) -> dict[str, str]:
    """What `main` answers with a parser, in this process."""
    monkeypatch.setitem(parser_process.PARSERS, "pdf", parser)
    monkeypatch.setattr(parser_process.resource, "setrlimit", lambda *_: None)
    request = json.dumps({"parser": "pdf", "bytes": 3, "arguments": [], "cpu_seconds": 1}).encode()
    sink = io.BytesIO()
    main(io.BytesIO(FRAME.pack(len(request)) + request + b"abc"), sink)
    return json.loads(sink.getvalue()[FRAME.size :])


def test_what_a_parser_raises_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes) -> Parsed:
        raise RecursionError("too many")

    def hungry(data: bytes) -> Parsed:
        raise MemoryError

    assert answers(monkeypatch, broken) == {"reason": "damaged", "detail": "RecursionError: too many"}
    assert answers(monkeypatch, hungry)["reason"] == "too_large"
    assert answers(monkeypatch, lambda data: Parsed(data.decode()))["text"] == "abc"
