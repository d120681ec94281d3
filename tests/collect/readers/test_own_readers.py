"""Readers of a project's own: suffixes that nobody else reads, and the promises of every reader."""

from pathlib import Path

import pytest

from privllm.collect.documents import CollectedDocument, Quarantined
from privllm.collect.files import survey
from privllm.collect.read_file import read_file
from privllm.collect.readers.registry import media_type, own_readers, reader_of, suffixes
from privllm.core.errors import UserError
from privllm.engine.extensions import Extensions
from tests.extend import TYPED, Extended, make_extended

HOUSE = Extensions("", ("extensions.house",))
READER = """class R:
    media_types = {".abc": "text/abc"}
    holds_many = False

    def read(self, file, max_bytes):
        yield from rows(file)


"""
SUBTITLES = b"1\n00:00:01,000 --> 00:00:02,000\nAt\nf\xc3\xbcnf.\n\n2\n00:00:03,000 --> 00:00:04,000\nYes.\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Extended:
    return make_extended(tmp_path / "project", monkeypatch)


def write_reader(project: Extended, body: str = "return []") -> None:
    imports = "from privllm.collect.documents import CollectedDocument, Quarantined\n\n\n"
    rows = f"def rows(file):\n    {body}\n\n\n"
    project.write("extensions/house.py", f'{imports}{rows}{READER}READERS = {{"abc": R()}}\n')


def test_the_reader_of_the_guide_reads_subtitles(project: Extended) -> None:
    project.write("extensions/house.py", TYPED["extensions/subtitles.py"])
    for name, data in {"good.SRT": SUBTITLES, "none.srt": b"1\nnever\nx", "binary.srt": bytes(range(256))}.items():
        (project.root / name).write_bytes(data)
    assert reader_of("a.srt") is None
    assert media_type("a.SRT", HOUSE) == "application/x-subrip"
    assert suffixes(HOUSE).endswith(" .srt")
    (row,) = read_file(project.root / "good.SRT", project.root, 1000, HOUSE)
    assert isinstance(row, CollectedDocument)
    assert (row.source, row.media_type, row.encoding) == ("good.SRT", "application/x-subrip", "utf-8")
    assert row.text == "At fünf.\nYes."
    for name in ("none.srt", "binary.srt", "gone.srt"):
        (refusal,) = read_file(project.root / name, project.root, 1000, HOUSE)
        assert isinstance(refusal, Quarantined)


def test_files_of_an_own_format_are_read_and_named(project: Extended) -> None:
    write_reader(project)
    sources = project.root / "sources"
    sources.mkdir()
    for name in ("a.abc", "b.xyz", "c.txt"):
        (sources / name).write_text("text")
    assert survey(sources, 1000).files["source"].to_pylist() == ["c.txt"]
    seen = survey(sources, 1000, HOUSE)
    assert seen.files["source"].to_pylist() == ["a.abc", "c.txt"]
    assert [row.detail for row in seen.refused] == [f".xyz: the suffixes read are {suffixes(HOUSE)}"]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("return []", "gave 0 rows for .*a.abc: it must yield one"),
        ("return [1]", "gave 1 rows for .*a.abc: it must yield one"),
        ("return 2 * [Quarantined(file.source, '', 0, 'bad', 'x')]", "gave 2 rows"),
        ("return [Quarantined('b.abc', '', 0, 'bad', 'x')]", "the source 'b.abc': use `read_one`"),
        ("return [Quarantined('a.abc', '', 0, 'So bad', 'x')]", "a reason is a name such as"),
        ("return [CollectedDocument('', 'a.abc', 'text/abc', 'utf-8', '', b'x')]", "cannot be encoded"),
        ("return [CollectedDocument('', 'a.abc', 'text/abc', 'utf-8', '', 'a\\udc80')]", "cannot be encoded"),
        ("raise KeyError('x')", "failed on .*a.abc: KeyError: 'x'"),
    ],
)
def test_a_reader_that_breaks_its_promises_stops_the_build(project: Extended, body: str, fault: str) -> None:
    write_reader(project, body)
    (project.root / "a.abc").write_text("text")
    with pytest.raises(UserError, match=f"extensions/house.py, line [0-9]+: `abc` .*{fault}"):
        list(read_file(project.root / "a.abc", project.root, 1000, HOUSE))


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('{"abc"', '{"text"', "is the name of a reader of privllm's"),
        ('".abc"', '".txt"', "reads .txt, which privllm reads itself"),
        ('".abc"', '".ABC"', "in lower case"),
        ('".abc"', '"abc"', "it must be such as '.csv'"),
        ('"text/abc"', '"abc"', "it must be such as 'text/csv'"),
        ('{".abc": "text/abc"}', "{}", "needs `media_types`"),
        ('{".abc": "text/abc"}', '".abc"', "needs `media_types`"),
        ("holds_many = False", "holds_many = True", "read as JSON lines"),
        ("    holds_many = False\n", "", "needs `holds_many = False`"),
        ("def read(", "def reads(", "must be an object with `read`"),
        ("R()}", "R}", "must be an object with `read`"),
        ('{"abc": R()}', '{"abc": R(), "other": R()}', "reads .abc, which the reader in extensions/house.py, line"),
    ],
)
def test_a_reader_that_cannot_be_used_is_refused(project: Extended, old: str, new: str, fault: str) -> None:
    write_reader(project)
    code = (project.root / "extensions/house.py").read_text()
    assert old in code
    project.write("extensions/house.py", code.replace(old, new, 1))
    with pytest.raises(UserError, match=f"extensions/house.py, line [0-9]+: .*{fault}"):
        own_readers(HOUSE)
