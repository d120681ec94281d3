"""Documents of today against those of the last build, files and lines of JSON."""

import json
from hashlib import md5
from pathlib import Path

import pytest

from privllm.collect.recipe import CollectConfig, collect
from privllm.collect.seen_files import SeenFiles
from privllm.core.records import document_id, shard_of
from privllm.engine.cache import Cache
from privllm.engine.libraries_apart import code_digest
from privllm.engine.store import Store
from privllm.manage.changed_documents import Changes, LastCollect, changes_since, last_collect
from tests.collect.readers.test_archive import zipped

CODE = b'{"modules": "what the code means", "libraries": {"pypdfium2": "5"}}'


class Corpus:
    """data/sources in the working directory, collected once."""

    def __init__(self, root: Path) -> None:
        self.sources, self.cache = Path("data/sources"), Cache(root / "cache", ("copy",))
        (self.sources / "sub").mkdir(parents=True, exist_ok=True)
        (self.sources / "a.txt").write_text("one")
        (self.sources / "sub/b.html").write_text("<p>two")
        (self.sources / "empty.txt").write_text("")
        (self.sources / "photo.jpg").write_text("no document")
        self.lines("c.jsonl", "three", "four", "five")
        collect(CollectConfig(), self.sources, root / "out", Store(self.cache, code_digest("collect", CODE)))
        self.recorded = {
            path.relative_to(self.sources).as_posix(): self.md5(path)
            for path in self.sources.rglob("*")
            if path.is_file()
        }
        self.last = last_collect(self.cache, CODE, {"shard_bits": 4})

    @staticmethod
    def md5(path: Path) -> str:
        return md5(path.read_bytes(), usedforsecurity=False).hexdigest()

    def lines(self, name: str, *texts: str) -> None:
        (self.sources / name).write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))

    def changes(self, **but: object) -> Changes | None:
        found = {"last": self.last, "recorded": self.recorded, "sources": self.sources} | but
        return changes_since(**found)  # type: ignore[arg-type]


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    monkeypatch.chdir(tmp_path)
    return Corpus(tmp_path)


def test_nothing_changed(corpus: Corpus) -> None:
    assert corpus.changes() == corpus.changes(recorded=None) == Changes([], [], [])


def test_files_and_lines(corpus: Corpus) -> None:
    (corpus.sources / "a.txt").write_text("other")
    (corpus.sources / "sub/b.html").unlink()
    (corpus.sources / "sub/new.md").write_text("# new")
    corpus.lines("c.jsonl", "three", "FOUR", "five", "six")
    expected = Changes(["c.jsonl#4", "sub/new.md"], ["a.txt", "c.jsonl#2"], ["sub/b.html"])
    assert corpus.changes() == corpus.changes(recorded=None) == expected
    assert expected.shards(4) == len({shard_of(document_id(name), 4) for part in expected for name in part})


def test_what_collect_does_not_read_is_no_document(corpus: Corpus) -> None:
    (corpus.sources / "photo.jpg").write_text("another photograph")
    (corpus.sources / ".hidden.txt").write_text("words")
    (corpus.sources / "void.txt").write_text("")
    with (corpus.sources / "c.jsonl").open("a") as file:
        file.write('{"no text": 1}\n')
    assert corpus.changes() == Changes([], [], [])
    (corpus.sources / "a.txt").write_text("")
    assert corpus.changes() == Changes([], [], ["a.txt"])


def test_a_forgotten_memory_makes_all_lines_of_a_changed_file_count(corpus: Corpus) -> None:
    forgotten = LastCollect(SeenFiles.empty(), 4, CollectConfig(max_megabytes=1))
    corpus.lines("c.jsonl", "three", "FOUR", "five")
    assert corpus.changes(last=forgotten) == Changes([], ["c.jsonl#1", "c.jsonl#2", "c.jsonl#3"], [])
    (corpus.sources / "c.jsonl").unlink()
    assert corpus.changes(last=forgotten) == Changes([], [], ["c.jsonl"])
    assert corpus.changes() == Changes([], [], ["c.jsonl#1", "c.jsonl#2", "c.jsonl#3"])
    assert corpus.changes(last=forgotten, recorded=None) is None


def test_the_memory_is_found_by_code_and_parameters(corpus: Corpus) -> None:
    assert set(corpus.last.memory.files["source"].to_pylist()) == {"a.txt", "sub/b.html", "c.jsonl"}
    assert corpus.last.bits == 4
    assert last_collect(corpus.cache, CODE, {"max_megabytes": 1}).memory == SeenFiles.empty()
    assert last_collect(corpus.cache, CODE.replace(b"means", b"meant"), {}).memory == SeenFiles.empty()
    assert last_collect(corpus.cache, CODE.replace(b'"5"', b'"6"'), {"shard_bits": 4}).memory == corpus.last.memory
    assert last_collect(corpus.cache, None, {}).cfg.max_bytes == 64_000_000


def test_nothing_is_written(corpus: Corpus, tmp_path: Path) -> None:
    def seen() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in [tmp_path, *tmp_path.rglob("*")]}

    (corpus.sources / "a.txt").write_text("other")
    before = seen()
    corpus.changes()
    assert seen() == before


def test_members_of_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    archive = Path("data/sources/a.zip")
    archive.parent.mkdir(parents=True)
    archive.write_bytes(zipped({"one.txt": b"one", "two.txt": b"two", "three.txt": b"three"}))
    corpus = Corpus(tmp_path)
    archive.write_bytes(zipped({"one.txt": b"one", "two.txt": b"edited", "new.txt": b"new"}))
    assert corpus.changes() == Changes(["a.zip#new.txt"], ["a.zip#two.txt"], ["a.zip#three.txt"])


def test_code_counts_where_collect_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of code that is gone was no document of a build without it."""
    monkeypatch.chdir(tmp_path)
    code = Path("data/sources/a.py")
    code.parent.mkdir(parents=True)
    code.write_text("fox()\n")
    corpus = Corpus(tmp_path)
    code.unlink()
    assert corpus.changes() == Changes([], [], [])
    reading = corpus.last._replace(cfg=CollectConfig(code=True))
    assert corpus.changes(last=reading) == Changes([], [], ["a.py"])
