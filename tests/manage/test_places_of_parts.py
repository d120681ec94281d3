"""What lies in a part, and what is only called as if it did."""

from pathlib import Path

from privllm.collect.source_file import DEFAULT_OPTIONS
from privllm.manage.places_of_parts import below, placed_rows
from privllm.manage.source_files import present
from tests.collect.readers.test_archive import zipped
from tests.collect.test_incremental import mail

FROM = "From a@b Thu Nov 26 04:23:00 2026\n"


def test_a_mail_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "in.mbox").write_text(f"{FROM}{mail('x@h', 'a.txt')}{FROM}{mail('x@h/2')}")
    rows = placed_rows(tmp_path / "in.mbox", tmp_path, 1000, DEFAULT_OPTIONS)
    found = {placed.row.source for placed in below(rows, "in.mbox#x@h")}
    assert found == {"in.mbox#x@h", "in.mbox#x@h/a.txt"}


def test_without_such_a_part_a_name_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped({"b/c.txt": b"one", "b/d.txt": b"two", "bc.txt": b"three"}))
    rows = placed_rows(tmp_path / "a.zip", tmp_path, 1000, DEFAULT_OPTIONS)
    assert {placed.row.source for placed in below(rows, "a.zip#b")} == {"a.zip#b/c.txt", "a.zip#b/d.txt"}


def test_a_mail_that_is_gone_is_not_present_by_its_like(tmp_path: Path) -> None:
    """So `forget` does not take it for one that its owner has put back."""
    (tmp_path / "in.mbox").write_text(f"{FROM}{mail('x@h/2')}")
    assert present(tmp_path, ["in.mbox#x@h", "in.mbox#x@h/2"]) == {"in.mbox#x@h/2"}
