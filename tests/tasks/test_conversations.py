"""Conversations of data/chat: each reply is a row, cleaned; nothing is lost without a word."""

import json
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.tasks.conversations import chat_files, write_conversations


def clean(text: str) -> tuple[str, dict[str, int]]:
    return text.replace("ada@example.org", "<EMAIL>"), {"EMAIL": text.count("ada@example.org")}


def write(path: Path, *rows: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")


TALK = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who wrote it?"},
        {"role": "assistant", "content": "ada@example.org did."},
        {"role": "user", "content": "When?"},
        {"role": "assistant", "content": "In May."},
    ]
}


def test_each_reply_is_a_row_with_what_was_said_before_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "deep/talks.jsonl", TALK, {"messages": []}, TALK)
    (tmp_path / "qa.csv").write_text("question,answer\nWhere?,There.\n", "utf-8")
    (tmp_path / "talks.jsonl.dvc").write_text("outs: []", "utf-8")
    (tmp_path / ".gitignore").write_text("*", "utf-8")
    assert [path.name for path in chat_files(tmp_path)] == ["talks.jsonl", "qa.csv"]
    report = write_conversations(tmp_path, tmp_path / "out", clean)
    rows = [json.loads(line) for line in (tmp_path / "out").read_text("utf-8").splitlines()]
    first, second, third = rows
    assert first["reply"] == "<EMAIL> did."
    assert [message["role"] for message in first["prompt"]] == ["system", "user"]
    assert [message["content"] for message in second["prompt"]] == [
        "Be brief.",
        "Who wrote it?",
        "<EMAIL> did.",
        "When?",
    ]
    assert (third["prompt"], third["reply"]) == ([{"role": "user", "content": "Where?"}], "There.")
    assert {row["weight"] for row in rows} == {1.0}
    assert len({row["id"] for row in rows}) == 3
    assert "line 2" in report.pop("data")["deep/talks.jsonl"]["skipped_rows"]
    assert report == {
        "files": 2,
        "conversations": 2,
        "replies": 3,
        "skipped": 1,
        "repeated": 1,
        "placeholders": {"EMAIL": 1},
    }
    assert "talks.jsonl, line 2: " in capsys.readouterr().err


def test_none_are_none(tmp_path: Path) -> None:
    assert write_conversations(tmp_path, tmp_path / "out", clean)["replies"] == 0
    assert (tmp_path / "out").read_bytes() == b"\n", "of an empty file DVC warns"


def test_a_file_of_something_else_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "labels.jsonl", {"text": "a", "label": "b"})
    with pytest.raises(UserError, match=r"labels\.jsonl"):
        write_conversations(tmp_path, tmp_path / "out", clean)
