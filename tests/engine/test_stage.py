"""A stage ends in an exit code and, for what a person can fix, in one paragraph without a traceback."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from privllm.core.errors import SeveralFaults, UserError
from privllm.engine import stage as stage_module
from privllm.engine.interrupt import Terminated
from privllm.engine.stage import INTERRUPTED, arguments, call, log_duration, peak_mb, takes_store
from privllm.engine.store import Store


def raising(error: BaseException):
    def action() -> None:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UserError("data/sources is empty; put files there."), 1, "data/sources is empty"),
        (
            OSError(errno.ENOSPC, "No space left on device", "data/clean/0.parquet"),
            1,
            "disk is full (data/clean/0.parquet)",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x"), 1, "No such file or directory (x)"),
        (MemoryError(), 1, "memory ran out"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 1, "memory ran out"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
            1,
            "memory ran out",
        ),
        (
            KeyboardInterrupt("step 7 of 9 is saved"),
            INTERRUPTED,
            "clean was interrupted (step 7 of 9 is saved). Nothing is lost",
        ),
        (KeyboardInterrupt(), INTERRUPTED, "Nothing is lost"),
        (Terminated(), 143, "Nothing is lost"),
    ],
)
def test_errors_for_people(capsys, monkeypatch, error, code, words) -> None:
    monkeypatch.delenv("PRIVLLM_DEBUG", raising=False)
    assert call(raising(error), "clean") == code
    shown = capsys.readouterr().err
    assert words in shown
    assert "Traceback" not in shown
    assert len(shown.strip().splitlines()) == 1


def test_each_of_several_faults_has_its_line_and_forges_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(raising(SeveralFaults("two are wrong:", ["  a", "  b\nerror: c"])), "clean") == 1
    assert capsys.readouterr().err == "\nerror: clean: two are wrong:\n  a\n  b\\nerror: c\n\n"


def test_our_own_mistakes_keep_their_traceback() -> None:
    with pytest.raises(AssertionError):
        call(raising(AssertionError("lost a document")), "clean")


def test_debug_shows_where(monkeypatch) -> None:
    monkeypatch.setenv("PRIVLLM_DEBUG", "1")
    with pytest.raises(UserError):
        call(raising(UserError("x")), "clean")


def test_success_and_exit_codes() -> None:
    assert call(lambda: None, "clean") == 0
    assert call(raising(typer.Exit(7)), "clean") == 7


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["fingerprint", "collect", "gate"])
def test_every_stage_checks_all_parameters_before_anything_else(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "require_sound_params", raising(UserError("gate.evidens")))
    monkeypatch.setattr(stage_module, "check_fingerprint", raising(AssertionError("too late")))
    with pytest.raises(UserError, match=r"gate\.evidens"):
        stage_module._checked(stage, [], raising(AssertionError("too late")), 0.0)


def stage_of(source: Path, out: Path, verify: bool) -> None: ...


def test_a_command_line_is_paths_and_switches(capsys) -> None:
    assert arguments(stage_of, "a", ["x", "y"]) == {"source": Path("x"), "out": Path("y"), "verify": False}
    assert arguments(stage_of, "a", ["--verify", "x", "y"])["verify"] is True
    with pytest.raises(SystemExit, match="2"):
        arguments(stage_of, "a", ["x"])
    assert "the following arguments are required: out" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="0"):
        arguments(stage_of, "a", ["--help"])
    assert "python -m stages.a" in capsys.readouterr().out


def storing(source: Path, out: Path, store: Store) -> None: ...


def test_a_store_is_no_word_of_the_command_line() -> None:
    assert arguments(storing, "a", ["x", "y"]) == {"source": Path("x"), "out": Path("y")}
    assert takes_store(storing)
    assert not takes_store(stage_of)


def test_durations_are_appended(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    log_duration("clean", 1.23456)
    log_duration("dedup", 2)
    lines = [json.loads(line) for line in (tmp_path / ".privllm/log.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["seconds"]) for line in lines] == [("clean", 1.235), ("dedup", 2)]


def test_the_peak_is_this_programs_own() -> None:
    """A child of a large process, which on Linux would inherit its parent's peak."""
    held = bytearray(b"x") * (300 << 20)
    code = "from privllm.engine.stage import peak_mb; print(peak_mb())"
    seen = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert 5 < seen < 250
    assert peak_mb() >= len(held) >> 20


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    code = "from privllm.engine.stage import call\nimport sys\nsys.exit(call(lambda: print('line\\n' * 100_000, flush=True), 'plan'))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 141
