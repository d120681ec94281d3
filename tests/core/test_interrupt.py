"""Ctrl-C during imports is one sentence, other errors keep their traceback; what must not be cut in two is not."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from privllm.core.interrupt import interrupts_held


def said(statement: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", f"import stages\n{statement}"], capture_output=True, text=True)


def test_an_interrupt_is_explained() -> None:
    done = said("raise KeyboardInterrupt")
    assert done.returncode != 0
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
