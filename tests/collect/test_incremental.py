"""Reading only what changed gives the bytes of reading everything."""

import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from privllm.collect import file_index, incremental_reader, read_file, recipe
from privllm.collect.read_file import FileReading
from privllm.collect.readers.text import TextReader
from privllm.collect.recipe import CollectConfig, collect
from privllm.collect.seen_files import SeenFiles
from privllm.collect.source_file import SourceFile
from privllm.core import records
from privllm.core.tables import read_table
from privllm.engine.cache import Cache
from privllm.engine.digests import TICK_NS, Digests
from privllm.engine.source_guard import SOURCES_AS_READ
from privllm.engine.store import Store
from tests.clock import newest, pass_tick, set_clock

CFG = CollectConfig(shard_bits=2)


class Corpus:
    def __init__(self, root: Path) -> None:
        self.sources, self.out, self.cache = root / "sources", root / "out", Cache(root / "cache", ("copy",))
        self.opened: list[str] = []
        self.sources.mkdir()

    def collect(self, cfg: CollectConfig = CFG, verify: bool = False) -> dict:
        self.opened.clear()
        shutil.rmtree(self.out, ignore_errors=True)
        report = collect(cfg, self.sources, self.out, Store(self.cache, "code", Digests()), verify)
        pass_tick(self.sources.parent)
        return report

    def later(self) -> int:
        """A time (ns) at which nothing in the sources is held for fresh."""
        return newest(*self.sources.iterdir()) + TICK_NS + 1

    def files(self, folder: Path | None = None) -> dict[str, bytes]:
        folder = folder or self.out
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def clean(self, cfg: CollectConfig = CFG) -> tuple[dict, dict[str, bytes]]:
        """Report and bytes of a build that remembers nothing."""
        folder = self.out.with_name("clean")
        shutil.rmtree(folder, ignore_errors=True)
        report = collect(cfg, self.sources, folder)
        return report, self.files(folder)


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    made = Corpus(tmp_path)
    for index in range(20):
        (made.sources / f"page{index}.html").write_text(f"<p>page {index}")
    write_lines(made.sources / "many.jsonl", 30)
    (made.sources / "bad.txt").write_bytes(bytes(50))
    monkeypatch.setattr(recipe, "SOURCES_INDEX", tmp_path / "sources.arrow")
    set_clock(monkeypatch, file_index, made.later)
    monkeypatch.setattr(records, "LINES", 2)  # so that many.jsonl lies in all shards
    read = incremental_reader.md5_of

    def md5_of(path: Path) -> str:
        made.opened.append(path.name)
        return read(path)

    monkeypatch.setattr(incremental_reader, "md5_of", md5_of)
    return made


def write_lines(path: Path, count: int, changed: int = -1) -> None:
    path.write_text(
        "".join(json.dumps({"text": f"line {i} {'changed' * (i == changed)}"}) + "\n" for i in range(count))
        + "no json\n"
    )


def test_nothing_is_opened_twice(corpus: Corpus) -> None:
    first = corpus.collect()
    assert len(corpus.opened) == 22
    before = corpus.files()
    assert corpus.collect() == first
    assert corpus.opened == []
    assert (first, before) == (corpus.clean()[0], corpus.files()) == corpus.clean()


def test_only_what_changed_is_opened(corpus: Corpus) -> None:
    corpus.collect()
    (corpus.sources / "page3.html").write_text("<p>new")
    (corpus.sources / "page4.html").unlink()
    (corpus.sources / "page5.html").rename(corpus.sources / "moved.html")
    (corpus.sources / "more.md").write_text("# more")
    report = corpus.collect()
    assert sorted(corpus.opened) == ["more.md", "moved.html", "page3.html"]
    assert (report, corpus.files()) == corpus.clean()


def test_one_line_of_many(corpus: Corpus) -> None:
    corpus.collect()
    before = corpus.files()
    write_lines(corpus.sources / "many.jsonl", 30, changed=7)
    report = corpus.collect()
    assert corpus.opened == ["many.jsonl"]
    assert (report, corpus.files()) == corpus.clean()
    assert sum(before[name] != data for name, data in corpus.files().items() if name != SOURCES_AS_READ) == 1


def test_touch_opens_and_changes_nothing_else(corpus: Corpus) -> None:
    corpus.collect()
    before = corpus.files()
    (corpus.sources / "page3.html").touch()
    corpus.collect()
    assert corpus.opened == ["page3.html"]
    assert corpus.files() == before


def test_a_clock_set_back_hides_no_change(corpus: Corpus) -> None:
    corpus.collect()
    page = corpus.sources / "page3.html"
    before = page.stat()
    page.write_text("<p>pagE 3")
    os.utime(page, ns=(before.st_atime_ns, before.st_mtime_ns))
    corpus.collect()
    assert corpus.opened == ["page3.html"]
    assert corpus.files() == corpus.clean()[1]


def test_verify_opens_everything(corpus: Corpus) -> None:
    corpus.collect()
    corpus.collect(verify=True)
    assert len(corpus.opened) == 22


def test_other_parameters_read_anew(corpus: Corpus) -> None:
    corpus.collect()
    for cfg in (CollectConfig(shard_bits=3), CollectConfig(shard_bits=2, max_megabytes=0.0001)):
        report = corpus.collect(cfg)
        assert (report, corpus.files()) == corpus.clean(cfg)


@pytest.mark.parametrize("loss", ["objects", "memory", "index", "actions", "shards of the memory"])
def test_what_is_lost_is_read_again(corpus: Corpus, loss: str) -> None:
    corpus.collect()
    if loss == "objects":
        shutil.rmtree(corpus.cache.folder / "files")
    elif loss == "index":
        recipe.SOURCES_INDEX.unlink()
    elif loss == "actions":
        shutil.rmtree(corpus.cache.folder / "privllm/actions")
    else:
        (note,) = (corpus.cache.folder / "privllm/collect").iterdir()
        if loss == "memory":
            note.write_bytes(note.read_bytes()[:-100])
        else:
            memory = SeenFiles.load(note)
            memory._replace(shards=[("0" * 32, 1) for _ in memory.shards]).save(note)
            shutil.rmtree(corpus.cache.folder / "privllm/actions")
    (corpus.sources / "page3.html").write_text("<p>new")
    report = corpus.collect()
    assert (report, corpus.files()) == corpus.clean()


def longer(page: Path) -> None:
    page.write_text("<p>page 3, edited")


def as_long_and_as_old(page: Path) -> None:
    before = page.stat()
    page.write_text("<p>PAGE 3")
    os.utime(page, ns=(before.st_atime_ns, before.st_mtime_ns))


def another_in_its_place(page: Path) -> None:
    copy = page.with_name(".copy")
    copy.write_text("<p>PAGE 3")
    os.utime(copy, ns=(page.stat().st_atime_ns, page.stat().st_mtime_ns))
    copy.replace(page)


@pytest.mark.parametrize("edit", [longer, as_long_and_as_old, another_in_its_place])
def test_a_file_changed_while_it_is_read_is_not_known(
    corpus: Corpus, edit: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its digest was taken before the edit and its text after it: nothing may say that they belong together."""
    page, read, edits = corpus.sources / "page3.html", FileReading.rows, []
    untouched = corpus.clean()[1][SOURCES_AS_READ]

    def rows(reading: FileReading, file: SourceFile) -> Iterator[Any]:
        if file.path == page and not edits:
            edits.append(edit(page))
        return read(reading, file)

    monkeypatch.setattr(FileReading, "rows", rows)
    corpus.collect()
    assert edits
    written = corpus.files()[SOURCES_AS_READ]
    # So later stages refuse, whichever of the two contents DVC records.
    assert written not in (untouched, corpus.clean()[1][SOURCES_AS_READ])
    (note,) = (corpus.cache.folder / "privllm/collect").iterdir()
    memory = SeenFiles.load(note).files.to_pylist()
    assert {row["source"] for row in memory if not row["md5"]} == {"page3.html"}
    report = corpus.collect()
    assert corpus.opened == ["page3.html"]
    assert (report, corpus.files()) == corpus.clean()


def write_archive(path: Path | BytesIO, texts: Mapping[str, str | bytes]) -> None:
    with zipfile.ZipFile(path, "w") as opened:
        for name, text in texts.items():
            opened.writestr(name, text)


def test_of_an_archive_only_the_changed_member_is_read(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    path, texts = corpus.sources / "many.zip", {f"{number}.txt": f"text {number}" for number in range(20)}
    read: list[str] = []
    read_text = TextReader.read

    def counted(self: TextReader, file: SourceFile, max_bytes: int) -> Iterator[Any]:
        read.append(file.source)
        return read_text(self, file, max_bytes)

    monkeypatch.setattr(TextReader, "read", counted)
    write_archive(path, texts)
    corpus.collect()
    texts["7.txt"] = "edited"
    del texts["3.txt"]
    texts = {"new.txt": "new", **texts}
    write_archive(path, texts)
    read.clear()
    report = corpus.collect()
    assert sorted(read) == ["many.zip#7.txt", "many.zip#new.txt"]
    assert (report, corpus.files()) == corpus.clean()


def test_members_whose_shard_is_lost_are_read_again(corpus: Corpus) -> None:
    path, texts = corpus.sources / "many.zip", {f"{number}.txt": f"text {number}" for number in range(20)}
    write_archive(path, texts)
    corpus.collect()
    texts["7.txt"] = "edited"
    write_archive(path, texts)
    shutil.rmtree(corpus.cache.folder / "files")
    report = corpus.collect()
    assert (report, corpus.files()) == corpus.clean()


def mail(identifier: str, *attached: str) -> str:
    """A message with attachments of a name, text being the name."""
    head = f"From: a@b\nSubject: s\nMessage-ID: <{identifier}>\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n"
    parts = [f"--B\nContent-Disposition: attachment; filename={name}\n\n{name}\n" for name in attached]
    return f"{head}--B\nContent-Type: text/plain\n\nwords\n{''.join(parts)}--B--\n\n"


def page(address: str, text: str) -> str:
    answer = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>{text}"
    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: {address}\r\nContent-Type: application/http; msgtype=response"
    return f"{head}\r\nContent-Length: {len(answer)}\r\n\r\n{answer}\r\n\r\n"


def zipped_bytes(texts: Mapping[str, str | bytes]) -> bytes:
    held = BytesIO()
    write_archive(held, texts)
    return held.getvalue()


MEMBERS: dict[str, list[str | bytes]] = {  # names that look like what lies in each other, with contents
    "m.eml": [mail("m", "a.txt", "b.txt"), mail("m", "b.txt"), mail("m", "a.txt", "a.txt"), mail("m", "x/y.txt")],
    "m.eml/a.txt": ["one", "two", "a.txt"],
    "m.eml/b.txt": ["one", "b.txt"],
    "m.eml/x": [mail("x", "y.txt")],
    "t.csv": ["id,text\nx.txt,row\ny.txt,row two\n", "id,text\nx.txt,row\n"],
    "t.csv/x.txt": ["row", "member"],
    "n.zip": [zipped_bytes({"m.eml": mail("n", "a.txt"), "m.eml/a.txt": "n"}), zipped_bytes({"a.txt": "n"})],
    "n.zip/m.eml": [mail("n", "a.txt"), mail("n", "b.txt")],
    "n.zip/a.txt": ["n", "other"],
    "i.mbox": [
        "From a@b 2026\n" + mail("x@h", "2") + "From a@b 2026\n" + mail("x@h/2"),
        "From a@b 2026\n" + mail("x@h"),
    ],
    "i.mbox/x@h/2": [mail("x@h/2")],
}


def test_names_that_look_like_each_others_parts_equal_a_clean_build(corpus: Corpus) -> None:
    chance = random.Random(3)
    addresses = ["http://e.org/", "http://e.org/a", "http://e.org/a/b", "http://e.org/b"]
    for step in range(25):
        names = chance.sample(sorted(MEMBERS), chance.randrange(2, len(MEMBERS)))
        write_archive(corpus.sources / "a.zip", {name: chance.choice(MEMBERS[name]) for name in names})
        pages = [page(address, f"text {chance.randrange(2)}") for address in chance.sample(addresses, 3)]
        (corpus.sources / "s.warc").write_text("".join(pages))
        mails = [mail(name, "2.txt") for name in chance.sample(["x@h", "x@h/2.txt", "x@h/3", "z"], 3)]
        (corpus.sources / "in.mbox").write_text("".join(f"From a@b 2026\n{text}" for text in mails))
        report = corpus.collect()
        assert (report, corpus.files()) == corpus.clean(), step
        ids = [
            identifier for shard in corpus.out.glob("*.parquet") for identifier in read_table(shard)["id"].to_pylist()
        ]
        assert len({*ids}) == len(ids) == report["documents"], step


INNER = zipped_bytes({f"{number}.txt": f"words {number}" for number in range(3)})


@pytest.mark.parametrize(("limit", "value"), [("MAX_PARTS", 6), ("MAX_UNPACKED", len(INNER) + 50)])
def test_what_is_remembered_counts_towards_the_limits(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(read_file, limit, value)
    for last in ("one", "two"):
        members = {"a.zip": INNER, "b.txt": last, "c.txt": "c", "d.txt": "d" * 40}
        write_archive(corpus.sources / "many.zip", members)
        report = corpus.collect()
        assert report["quarantined"]["too_much"] == 1
        assert (report, corpus.files()) == corpus.clean()


@pytest.mark.slow
def test_random_edits_equal_a_clean_build(corpus: Corpus) -> None:
    chance = random.Random(7)
    corpus.collect()
    for step in range(12):
        names = sorted(path for path in corpus.sources.iterdir() if path.suffix == ".html")
        for path in chance.sample(names, 3):
            edit = chance.choice(["change", "remove", "rename", "touch", "spoil"])
            if edit == "change":
                path.write_text(f"<p>step {step}")
            elif edit == "remove":
                path.unlink()
            elif edit == "rename":
                path.rename(corpus.sources / f"renamed{step}-{path.name}")
            elif edit == "touch":
                path.touch()
            else:
                path.write_bytes(bytes(40))
        (corpus.sources / f"new{step}.html").write_text(f"<p>new at {step}")
        write_lines(corpus.sources / "many.jsonl", chance.randrange(20, 40), chance.randrange(20))
        members = {f"{number}.txt": f"text {chance.randrange(3)}" for number in chance.sample(range(30), 20)}
        write_archive(corpus.sources / "many.zip", members)
        report = corpus.collect()
        assert (report, corpus.files()) == corpus.clean(), step
