from pathlib import Path

import pytest

from privllm.collect.decode import decode
from privllm.collect.documents import Quarantined
from privllm.collect.readers.reader import read_one
from privllm.collect.source_file import SourceFile


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("words")

    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    expected = Quarantined("a.txt", "", 5, "unreadable", "Permission denied")
    assert read_one(SourceFile.at(path, tmp_path), "text/plain", decode) == expected
