"""Ctrl-C during imports is one sentence, other errors keep their traceback; what must not be cut in two is not."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from privllm.engine.interrupt import SIGNALS, Interrupts, Terminated, interrupts_held


def said(statement: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", f"import stages\n{statement}"], capture_output=True, text=True)


def test_an_interrupt_is_explained() -> None:
    done = said("raise KeyboardInterrupt")
    assert done.returncode != 0
    assert "interrupted" in done.stderr
    assert "Traceback" not in done.stderr


def test_sigterm_is_an_interrupt_too() -> None:
    done = said("import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    assert done.returncode == 128 + signal.SIGTERM
    assert "interrupted" in done.stderr
    assert "Traceback" not in done.stderr


def test_other_errors_are_shown() -> None:
    assert "ZeroDivisionError" in said("1 / 0").stderr


def test_an_interrupt_waits_for_the_end_of_the_block() -> None:
    before, done = signal.getsignal(signal.SIGINT), []

    def block() -> None:
        with interrupts_held():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("the rest")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done == ["the rest"]
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_in_the_block_is_raised_and_the_handler_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="wrong"), interrupts_held():
        raise ValueError("wrong")
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_get_no_signals_and_need_no_handler() -> None:
    passed = []

    def work() -> None:
        with interrupts_held():
            passed.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert passed == [True]


def test_what_would_end_the_process_without_an_exception_is_not_held() -> None:
    code = """
import os, signal
from privllm.engine.interrupt import interrupts_held
with interrupts_held():
    os.kill(os.getpid(), signal.SIGTERM)
    print("held")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "")


@pytest.fixture
def interrupts():
    found = Interrupts()
    yield found
    found.give_back()


@pytest.mark.parametrize("number", SIGNALS)
def test_it_is_raised_at_once_or_at_the_release(interrupts: Interrupts, number: signal.Signals) -> None:
    expected = Terminated if number == signal.SIGTERM else KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt) as raised:
        os.kill(os.getpid(), number)
    assert raised.type is expected
    interrupts.came = None
    interrupts.hold()
    os.kill(os.getpid(), number)
    with pytest.raises(KeyboardInterrupt) as raised:
        interrupts.release()
    assert raised.type is expected
    interrupts.release()  # once is enough


def test_one_that_a_destructor_swallowed_is_raised_by_the_next_release(
    interrupts: Interrupts, recwarn, monkeypatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)

    class Swallowing:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0)  # here, at the latest, Python notices

    Swallowing()
    with pytest.raises(KeyboardInterrupt):
        interrupts.release()


def test_handlers_come_back_and_what_a_shell_ignores_stays_ignored(monkeypatch) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        interrupts = Interrupts()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) == interrupts._take
        interrupts.give_back()
        assert signal.getsignal(signal.SIGTERM) is not interrupts._take
    finally:
        signal.signal(signal.SIGINT, before)
