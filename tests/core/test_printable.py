"""Whatever anybody named anything, a terminal shows it; and nothing prints but through here."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.core.printable import (
    WORDS,
    never_fail_to_print,
    printable,
    printable_json,
    say,
    say_json,
    without_controls,
)
from privllm.engine.stage import explain
from tests.hostile import ESCAPED, EVIL, obeyed
from tests.hostile import WORDS as HOSTILE

ROOT = Path(__file__).resolve().parent.parent.parent
OTHER_WAYS = {
    # Helper processes, which speak to their parent; it says what they said.
    *("privllm/collect/pydoc_pages.py", "privllm/parameters/check.py", "privllm/engine/dvc_resolver.py"),
    "privllm/models/torch_probe.py",  # likewise
    # What speaks before anything of ours is imported, and the way itself.
    *("privllm/engine/interrupt.py", "privllm/core/printable.py", "privllm/engine/stage.py"),
}
RICH = {  # they print what rich was given; each has a test with a hostile name
    *("privllm/cli/app.py", "privllm/cli/doctor.py", "privllm/cli/feedback.py", "privllm/serve/terminal_chat.py"),
    "privllm/cli/showing.py",
    *("privllm/core/progress.py", "privllm/train/progress.py"),  # bars: names of stages and sections
}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words, 100 %", "plain words, 100 %"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("ring\x07", r"ring\x07"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("two\nlines\r\n", r"two\nlines\r\n"),
        ("a\tb", r"a\tb"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\u202eexe.txt\u2066", r"\u202eexe.txt\u2066"),
        ("\x9b31m\x7f\x00", r"\x9b31m\x7f\x00"),
        ("caf\udce9", r"caf\udce9"),
        ("\ufffe\U000e0041\ue000", r"\ufffe\U000e0041\ue000"),
        ("naïve 数据 報告　書 🙂 עברית العربية", "naïve 数据 報告　書 🙂 עברית العربية"),
        (r"C:\x1b", r"C:\x1b"),
    ],
)
def test_what_would_be_obeyed_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_words_keep_their_lines_and_joiners() -> None:
    assert printable("a\n\tb می\u200cخواهم\x1b\u202e", WORDS) == "a\n\tb می\u200cخواهم\\x1b\\u202e"


@given(st.text(st.characters()))
def test_nothing_is_left_to_obey_and_a_second_time_changes_nothing(text: str) -> None:
    shown = printable(text)
    assert not obeyed(shown, lines=0)
    assert printable(shown) == shown
    assert shown.encode("utf-8").decode("utf-8") == shown


@pytest.mark.slow
@given(
    st.recursive(
        st.none() | st.text(st.characters()),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    )
)
def test_json_means_the_same(value: object) -> None:
    text = printable_json(value)
    assert not obeyed(text, lines=0)
    assert json.loads(text) == value


def test_json_of_a_surrogate_and_of_letters() -> None:
    assert printable_json({"é": "\udce9\x9b\U000e0041"}) == r'{"é": "\udce9\u009b\udb40\udc41"}'
    assert printable_json(["a", 1], indent=1).count("\n") == 3


def test_controls_go_where_programs_read() -> None:
    assert without_controls("a\x1b[2Jb\tc\nd\x9b\x7f\r é\u202e") == "a[2Jb\tc\nd é\u202e"


@pytest.mark.parametrize("word", HOSTILE)
def test_lines_and_errors_stay_one_line(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(f"a{word}b")
    say(f"a{word}b", err=True)
    explain(f"a{word}b")
    say_json([f"a{word}b"])
    out, err = capsys.readouterr()
    assert not obeyed(out, lines=2)
    assert not obeyed(err, lines=1 + 3)  # a paragraph has an empty line before and behind it


def test_an_error_of_several_lines_is_one_paragraph(capsys: pytest.CaptureFixture[str]) -> None:
    explain("dvc.yaml is wrong:\n\n  line 3\n  line 4")
    assert capsys.readouterr().err == "\nerror: dvc.yaml is wrong: line 3 line 4\n\n"


def test_a_terminal_that_lacks_a_letter_is_no_error() -> None:
    code = "from privllm.core.printable import *; never_fail_to_print(); say('数 é'); print('数\\udce9')"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONIOENCODING": "latin-1"}, cwd=ROOT, capture_output=True
    )
    assert (done.returncode, done.stdout) == (0, b"\\u6570 \xe9\n\\u6570\\udce9\n"), done.stderr


STAGE = """
import sys
from privllm.engine import stage
sys.argv = ["clean.py"]
stage._checked = lambda name, words, action, start: action()
stage.run(lambda: print("数"))
"""
COMMAND = """
import sys
from pathlib import Path
from privllm.cli.app import app
sys.argv = ["privllm", "summary", "--reports", sys.argv[1]]
Path(sys.argv[-1], "evaluate").mkdir()
Path(sys.argv[-1], "evaluate/数.json").write_text("{}")
app()
"""


@pytest.mark.slow
@pytest.mark.parametrize("code", [STAGE, COMMAND])
def test_stages_and_commands_see_to_that(code: str, tmp_path: Path) -> None:
    env = {"PYTHONIOENCODING": "ascii", "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", code, str(tmp_path)], env=env, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-300:]
    assert r"\u6570" in done.stdout


def test_streams_that_are_none_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    never_fail_to_print()
    say(EVIL)
    assert sys.stdout.getvalue().startswith(ESCAPED)  # type: ignore[attr-defined]


def test_nothing_prints_but_through_here() -> None:
    """A new `print`, or a new console of rich, is a new way for a name to a terminal: `say` what it prints, or test it and name it here."""
    printing = re.compile(r"(?<![\w.\"'])print\(|typer\.s?echo|typer\.secho|std(?:out|err)\.write\(")
    for path in [*(ROOT / "privllm").rglob("*.py"), *(ROOT / "stages").glob("*.py")]:
        name, text = path.relative_to(ROOT).as_posix(), path.read_text("utf-8")
        lines = [line.strip() for line in text.splitlines() if printing.search(line)]
        assert not lines or name in OTHER_WAYS, f"{name}: {lines}"
        assert "Console(" not in text or name in RICH, f"{name} has a console"
