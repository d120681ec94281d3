import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from privllm.serve.terminal import MarkdownStream, end_of_blocks, read_messages
from tests.hostile import EVIL, obeyed

REPLY = """# Title

Some **bold** words.

```python
x = 1

y = 2
```

1. one
2. two
"""


def shown(pieces: list[str], terminal: bool = True) -> str:
    console = Console(file=io.StringIO(), width=60, height=20, force_terminal=terminal, color_system=None)
    stream = MarkdownStream(console)
    for piece in pieces:
        stream.add(piece)
    stream.end()
    return console.file.getvalue()  # type: ignore[attr-defined]


def last_state(text: str) -> list[str]:
    """Return the lines that a terminal has in the end: rich erases lines upwards before it writes them again."""
    lines = [""]
    for part in text.replace("\r", "").split("\x1b"):
        if part.startswith("[1A"):
            lines.pop()
            part = part.removeprefix("[1A")
        elif part.startswith("[2K"):
            lines[-1] = ""
            part = part.removeprefix("[2K")
        elif part.startswith("["):
            part = part.lstrip("[?0123456789;").removeprefix(part.lstrip("[?0123456789;")[:1])
        first, *more = part.split("\n")
        lines[-1] += first
        lines += more
    return [line.rstrip() for line in lines if line.strip()]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_reply_is_shown_as_markdown_in_the_end(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privllm.serve.terminal.REFRESH_SECONDS", 0.0)
    pieces = [REPLY[i : i + size] for i in range(0, len(REPLY), size)]
    text = "\n".join(last_state(shown(pieces)))
    assert "**" not in text
    assert "```" not in text
    assert text.count("Title") == text.count("Some bold words.") == text.count("x = 1") == text.count("y = 2") == 1
    assert [line for line in text.splitlines() if line.strip().endswith(("one", "two"))] == [" 1 one", " 2 two"]


def test_nothing_in_it_is_a_command_to_the_terminal() -> None:
    said = shown([f"{EVIL}\n\n[link](https://example.org) {EVIL}"], terminal=False)
    assert not obeyed(said)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("", 0),
        ("one", 0),
        ("one\n", 0),
        ("\n", 0),
        ("one\n\n", 5),
        ("one\n\ntwo", 5),
        ("```\n\n", 0),
        ("```\n\n```\n\n", 10),
        ("a\n\n~~~\n\n```", 3),
    ],
)
def test_a_block_ends_at_a_blank_line_outside_of_code(text: str, end: int) -> None:
    assert end_of_blocks(text) == end


@given(st.lists(st.sampled_from(["a", "```", "~~~", "", " "]), max_size=8).map("\n".join), st.integers(0, 40))
def test_what_has_ended_stays_ended(text: str, cut: int) -> None:
    end = end_of_blocks(text[:cut])
    assert end == 0 or end_of_blocks(text) >= end


def test_lines_of_a_pipe_are_read_to_their_end() -> None:
    console = Console(file=io.StringIO())
    assert list(read_messages(io.StringIO("one\n \n two \nthree"), console, False)) == ["one", "two", "three"]


PROGRAM = """
import sys
from rich.console import Console
from privllm.serve.terminal import read_messages
for message in read_messages(sys.stdin, Console(), True):
    print("READ", repr(message), flush=True)
"""


def test_a_line_is_edited_and_an_earlier_one_found_again() -> None:
    """In a real terminal: the arrow up, the left arrow, backspace, and Ctrl-D at the end."""
    master, slave = pty.openpty()
    root = Path(__file__).parents[2]
    environment = os.environ | {"TERM": "xterm", "INPUTRC": "/dev/null"}
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=slave, stdout=slave, stderr=slave, cwd=root, env=environment
    )
    os.close(slave)
    seen = b""

    def until(words: bytes) -> None:
        nonlocal seen
        while words not in seen:
            seen += os.read(master, 4096)
        seen = seen[seen.index(words) + len(words) :]

    until(b"> ")
    os.write(master, b"one two\n")
    until(b"READ 'one two'")
    until(b"> ")
    os.write(master, b"\x1b[A\x7f\x7f\x7f2\x1b[D\x1b[D-\n")  # up, three back, "2", twice left, "-"
    until(b"READ 'one- 2'")
    until(b"> ")
    os.write(master, b"\x04")
    assert child.wait(20) == 0
    os.close(master)
