"""Web archives: the pages that were answered, without headers and encodings, under their addresses."""

import gzip
import io
import re
import time
import zlib
from pathlib import Path
from random import Random

import brotli
import pytest
from fastwarc.stream_io import ZstdWriter
from hypothesis import given
from hypothesis import strategies as st

from privllm.collect.documents import CollectedDocument, PassedOver, Quarantined
from privllm.collect.read_file import FileReading, read_file
from privllm.collect.readers import warc
from privllm.collect.readers.registry import READERS, media_type, reader_of
from privllm.collect.readers.warc import _Blocks
from privllm.collect.source_file import SourceFile
from tests.collect.readers.test_archive import reasons_of, texts_of

LIMIT = 2000
PAGE = b"<p>The lazy fox rests.</p>"
HTML = "text/html"


def answer(body: bytes = PAGE, kind: str = HTML, status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def record(block: bytes, address: str = "https://example.org/a?b=1", kind: str = "response", media: str = "") -> bytes:
    media = media or "application/http; msgtype=response"
    head = (
        f"WARC/1.1\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{len(block)}>\r\nWARC-Date: 2026-11-26T06:00:00Z\r\n"
        f"WARC-Target-URI: {address}\r\nContent-Type: {media}\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def arc(*records: tuple[str, bytes], fields: str = "") -> bytes:
    about = b"1 0 Somebody\nURL IP-address Archive-date Content-type Archive-length\n"
    pages = [("filedesc://a.arc", about), *records]
    made = b""
    for address, block in pages:
        made += f"{address} 127.0.0.1 20261126060000 text/html{fields} {len(block)}\n".encode() + block + b"\n"
    return made


def rows_of(tmp_path: Path, data: bytes, name: str = "a.warc") -> list[CollectedDocument | Quarantined]:
    path = tmp_path / name
    path.write_bytes(data)
    return list(read_file(path, tmp_path, LIMIT))


def test_a_page_is_named_by_its_address_and_stands_without_its_headers(tmp_path: Path) -> None:
    (row,) = rows_of(tmp_path, record(answer()))
    assert isinstance(row, CollectedDocument)
    assert (row.source, row.media_type, row.text) == ("a.warc#https:/example.org/a?b=1", HTML, PAGE.decode())


def test_what_is_no_page_is_the_archives_own_and_what_failed_is_passed_over(tmp_path: Path) -> None:
    kinds = ("warcinfo", "request", "metadata", "revisit")
    data = b"".join(record(b"x: y", kind=kind, media="application/warc-fields") for kind in kinds)
    data += record(answer(status="404 Not Found")) + record(answer(status="301 Moved"), "http://example.org/b")
    path = tmp_path / "a.warc"
    path.write_bytes(data)
    rows = [row for row, _ in FileReading(LIMIT).rows(SourceFile.at(path, tmp_path))]
    assert rows == [PassedOver("a.warc#https:/example.org/a?b=1"), PassedOver("a.warc#http:/example.org/b")]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (gzip.compress(PAGE, mtime=0), {"Content_Encoding": "gzip"}),
        (brotli.compress(PAGE), {"Content_Encoding": "br"}),
        (PAGE, {"Content_Encoding": "br"}),
        (zlib.compress(PAGE), {"Content_Encoding": "deflate"}),
        (zlib.compress(PAGE)[2:-4], {"Content_Encoding": "deflate"}),
        (PAGE, {"Content_Encoding": "gzip"}),
        (b"5;x=y\r\n" + PAGE[:5] + b"\r\n15\r\n" + PAGE[5:] + b"\r\n0\r\n\r\n", {"Transfer_Encoding": "chunked"}),
        (PAGE, {"Transfer_Encoding": "chunked"}),
    ],
    ids=[
        "gzip",
        "brotli",
        "no brotli",
        "zlib",
        "deflate",
        "no gzip",
        "chunked",
        "not chunked",
    ],  # Pythons compress differently
)
@pytest.mark.parametrize("name", ["a.warc", "a.arc"])
def test_chunks_and_content_encodings_are_undone(tmp_path: Path, body: bytes, headers: dict, name: str) -> None:
    block = answer(body, **headers)
    data = record(block) if name == "a.warc" else arc(("https://example.org/a?b=1", block))
    assert texts_of(rows_of(tmp_path, data, name)) == {f"{name}#https:/example.org/a?b=1": PAGE.decode()}


@pytest.mark.parametrize("name", ["a.warc", "a.arc"])
def test_a_charset_that_only_the_headers_name_is_read(tmp_path: Path, name: str) -> None:
    text = "<p>Съешь ещё</p>"
    block = answer(text.encode("koi8-r"), 'text/html; charset="KOI8-R"')
    data = record(block) if name == "a.warc" else arc(("http://example.org/", block))
    assert list(texts_of(rows_of(tmp_path, data, name)).values()) == [text]


def test_a_wrong_charset_is_not_believed(tmp_path: Path) -> None:
    data = record(answer("<p>Grüße</p>".encode(), "text/html; charset=iso-8859-1"))
    assert list(texts_of(rows_of(tmp_path, data)).values()) == ["<p>Grüße</p>"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("fields", ["", " 200 - - 12345678 a.arc"])
def test_an_arc_of_either_version(tmp_path: Path, packed: bool, fields: str) -> None:
    data = arc(("http://example.org/two words", answer()), ("dns:example.org", b"x"), fields=fields)
    data = gzip.compress(data[:100]) + gzip.compress(data[100:]) if packed else data
    name = "a.arc.gz" if packed else "a.arc"
    assert texts_of(rows_of(tmp_path, data, name)) == {f"{name}#http:/example.org/two words": PAGE.decode()}


def test_a_compressed_archive_is_read_whatever_its_size(tmp_path: Path) -> None:
    pages = [record(answer(PAGE * 40), f"http://example.org/{index}") for index in range(20)]
    rows = rows_of(tmp_path, b"".join(map(gzip.compress, pages)), "a.WARC.gz")
    assert len(texts_of(rows)) == 20
    assert sum(map(len, pages)) > LIMIT
    assert media_type("b/a.WARC.gz") == "application/warc"
    assert reader_of("warc.gz") is READERS["archive"]


def test_text_of_a_crawl_and_files_that_a_crawler_kept(tmp_path: Path) -> None:
    data = record(b"Just text.", kind="conversion", media="text/plain")
    data += record(b"<p>Kept.</p>", "file:/kept.html", "resource", "text/html")
    assert list(texts_of(rows_of(tmp_path, data, "a.warc.wet")).values()) == ["Just text.", "<p>Kept.</p>"]


@pytest.mark.parametrize("name", ["a.warc.wat", "a.warc.wat.gz"])
def test_metadata_of_a_crawl_are_passed_over_and_counted(tmp_path: Path, name: str) -> None:
    data = record(b"{}", kind="metadata", media="application/json") * 2
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    rows = [row for row, _ in FileReading(LIMIT).rows(SourceFile.at(path, tmp_path))]
    assert rows == [PassedOver(f"{name}#https:/example.org/a?b=1")] * 2


@given(st.binary(max_size=60), st.lists(st.integers(1, 9), max_size=20), st.integers(1, 7))
def test_blocks_read_as_a_stream_does(data: bytes, counts: list[int], size: int) -> None:
    blocks, stream = _Blocks(io.BytesIO(data.replace(b"\x00", b"\n"))), io.BytesIO(data.replace(b"\x00", b"\n"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warc, "BLOCK", size)
        for number, count in enumerate(counts):
            if number % 3 == 0:
                assert blocks.readline(count) == stream.readline(count)
            elif number % 3 == 1:
                assert blocks.read(count) == stream.read(count)
            else:
                rest = stream.getvalue()[stream.tell() :][:count]
                expected = rest[: rest.find(b"\n") + 1] or rest
                assert blocks.read_to(re.compile(b"\n"), count) == stream.read(len(expected))


def test_an_address_that_recurs_is_told_apart(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, record(answer()) + record(answer(b"<p>Changed.</p>")))
    assert sorted(texts_of(rows).values()) == ["<p>Changed.</p>", PAGE.decode()]
    assert len({row.source for row in rows}) == 2


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b"x" * (LIMIT + 1), {}, "too_large"),
        (gzip.compress(bytes(LIMIT * 50), mtime=0), {"Content_Encoding": "gzip"}, "too_large"),
        (PAGE, {"Content_Encoding": "compress"}, "unsupported"),
        (brotli.compress(bytes(LIMIT * 50)), {"Content_Encoding": "br"}, "too_large"),
        (b"\xff" + PAGE, {"Content_Encoding": "br"}, "damaged"),
        (b"\x1f\x8b" + PAGE, {"Content_Encoding": "gzip"}, "damaged"),
        (PAGE, {"Content_Encoding": "deflate"}, "damaged"),
        (b"", {}, "empty"),
    ],
)
@pytest.mark.parametrize("name", ["a.warc", "a.arc"])
def test_a_page_that_cannot_be_had_is_refused_alone(
    tmp_path: Path, body: bytes, headers: dict, reason: str, name: str
) -> None:
    blocks = ("http://example.org/bad", answer(body, **headers)), ("http://example.org/good", answer())
    data = arc(*blocks) if name == "a.arc" else b"".join(record(block, address) for address, block in blocks)
    rows = rows_of(tmp_path, data, name)
    assert reasons_of(rows) == {f"{name}#http:/example.org/bad": reason}
    assert texts_of(rows) == {f"{name}#http:/example.org/good": PAGE.decode()}


@pytest.mark.parametrize("name", ["a.warc", "a.arc", "a.warc.gz", "a.arc.gz"])
def test_a_damaged_archive_gives_what_comes_before(tmp_path: Path, name: str) -> None:
    if ".arc" in name:
        data = arc(("http://example.org/1", answer()), ("http://example.org/2", answer(PAGE * 20)))
    else:
        data = record(answer(), "http://example.org/1") + record(answer(PAGE * 20), "http://example.org/2")
    data = gzip.compress(data[:-300], mtime=0)[:-8] if name.endswith(".gz") else data[:-300]
    rows = rows_of(tmp_path, data, name)
    assert texts_of(rows)[f"{name}#http:/example.org/1"] == PAGE.decode()
    assert reasons_of(rows) == {name: "damaged"}


def test_an_archive_that_unpacks_to_too_much_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warc, "FREE_BYTES", 1000)
    monkeypatch.setattr(warc, "MAX_RATIO", 2)
    for name, data in (
        ("a.warc.gz", b"".join(record(answer(bytes(1500)), f"http://example.org/{n}") for n in range(9))),
        ("a.arc.gz", arc(*((f"http://example.org/{n}", answer(bytes(1500))) for n in range(9)))),
    ):
        assert reasons_of(rows_of(tmp_path, gzip.compress(data, mtime=0), name))[name] == "too_much"


@pytest.mark.parametrize("name", ["a.warc", "a.arc", "a.warc.gz", "a.arc.gz"])
def test_no_damage_crashes(tmp_path: Path, name: str) -> None:
    blocks = (
        answer(),
        answer(gzip.compress(PAGE, mtime=0), Content_Encoding="gzip"),
        answer(b"3\r\nabc\r\n0\r\n", Transfer_Encoding="chunked"),
    )
    data = arc(*((f"http://e.org/{n}", block) for n, block in enumerate(blocks)))
    data = data if ".arc" in name else b"".join(record(block, f"http://e.org/{n}") for n, block in enumerate(blocks))
    data = gzip.compress(data, mtime=0) if name.endswith(".gz") else data
    random = Random(3)
    for _ in range(150):
        broken = bytearray(data)
        for _ in range(random.randint(1, 8)):
            broken[random.randrange(len(broken))] = random.randrange(256)
        rows = rows_of(tmp_path, bytes(broken[: random.randint(1, len(broken))]), name)
        assert all(row.source.startswith(name) for row in rows)


def test_a_warc_compressed_with_zstandard(tmp_path: Path) -> None:
    made = io.BytesIO()
    writer = ZstdWriter(made)
    writer.write(record(answer()))
    writer.close()
    assert list(texts_of(rows_of(tmp_path, made.getvalue(), "a.warc.zst")).values()) == [PAGE.decode()]


def test_one_page_many_times_takes_no_more_time_than_many_pages(tmp_path: Path) -> None:
    began = time.process_time()
    rows = rows_of(tmp_path, record(answer()) * 10_000)
    assert time.process_time() - began < 10  # searching each name from 2 on takes minutes
    assert len({row.source for row in rows}) == 10_000


RECORDS = [record(answer(PAGE + b"%d" % number), f"http://e.org/{number}") for number in range(4)]


def test_an_archive_that_is_cut_anywhere_says_so_and_invents_no_page(tmp_path: Path) -> None:
    whole = record(b"GET / HTTP/1.1\r\n\r\n", "http://e.org/0", "request") + RECORDS[0] + RECORDS[1]
    ends = {len(whole) - len(RECORDS[1]) - kept for kept in range(5)} | {len(whole) - kept for kept in range(5)}
    own = len(whole) - len(RECORDS[0] + RECORDS[1])  # the request
    for size in range(own + 1, len(whole)):
        rows = rows_of(tmp_path, whole[:size])
        assert (reasons_of(rows) == {"a.warc": "damaged"}) == (size not in ends), size
        assert {row.source for row in rows} <= {"a.warc", "a.warc#http:/e.org/0", "a.warc#http:/e.org/1"}
    assert reasons_of(rows_of(tmp_path, whole[: own - 6])) == {"a.warc": "damaged"}


def test_after_damage_reading_goes_on_at_the_next_record(tmp_path: Path) -> None:
    plain = RECORDS[0] + b"GARBAGE\n" * 20_000 + RECORDS[1] + b"more\r\n" + RECORDS[2]
    rows = rows_of(tmp_path, plain)
    assert [*texts_of(rows)] == [f"a.warc#http:/e.org/{number}" for number in range(3)]
    assert [row.detail for row in rows if isinstance(row, Quarantined)] == [
        "Invalid WARC header (and at 1 more places)"
    ]
    members = [gzip.compress(each, mtime=0) for each in RECORDS]
    for begin in (2, 12, 40, len(members[1]) - 20):
        broken = members[1][:begin] + bytes(15) + members[1][begin + 15 :]
        rows = rows_of(tmp_path, members[0] + broken + members[2] + members[3], "a.warc.gz")
        assert {"a.warc.gz#http:/e.org/0", "a.warc.gz#http:/e.org/2", "a.warc.gz#http:/e.org/3"} <= {*texts_of(rows)}
        assert reasons_of(rows)["a.warc.gz"] == "damaged"


def test_damage_everywhere_comes_to_an_end(tmp_path: Path) -> None:
    began = time.process_time()
    rows = rows_of(tmp_path, b"WARC/1.0\r\n" + b"x\nWARC/1.x\n" * 200_000)
    assert reasons_of(rows) == {"a.warc": "damaged"}
    assert time.process_time() - began < 5


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_lines_may_end_without_a_carriage_return(tmp_path: Path, name: str) -> None:
    data = b"".join(each.replace(b"\r\n", b"\n").replace(b"Length: 71", b"Length: 68") for each in RECORDS)
    assert b"Length: 68" in data
    rows = rows_of(tmp_path, gzip.compress(data) if name.endswith("gz") else data, name)
    assert texts_of(rows) == {f"{name}#http:/e.org/{number}": f"{PAGE.decode()}{number}" for number in range(4)}
    assert not reasons_of(rows)


def test_what_a_crawler_notes_of_names_is_its_own(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, record(b"e.org. 1 IN A 127.0.0.1", "dns:e.org", media="text/dns") + RECORDS[0])
    assert [row.source for row in rows] == ["a.warc#http:/e.org/0"]


def packed_by_zstd(data: bytes) -> bytes:
    opened = io.BytesIO()
    writer = ZstdWriter(opened)
    writer.write(data)
    writer.close()
    return opened.getvalue()


PACKED = {"a.warc": bytes, "a.warc.gz": gzip.compress, "a.warc.zst": packed_by_zstd}


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("length", [1000, 1_999, 100_000, 10**15])
@pytest.mark.parametrize("kind", ["response", "request"])
def test_a_record_that_says_to_be_longer_than_it_is_costs_itself(
    tmp_path: Path, name: str, length: int, kind: str
) -> None:
    pages = [record(answer(PAGE + b"%d" % number), f"http://e.org/{number}") for number in range(6)]
    false = record(answer(b"<p>False.</p>"), "http://e.org/false", kind)
    pages.insert(
        2, re.sub(rb"(?m)^(WARC(?s:.)*?)Content-Length: \d+", b"\\1Content-Length: %d" % length, false, count=1)
    )
    rows = rows_of(tmp_path, b"".join(map(PACKED[name], pages)), name)
    texts = texts_of(rows)
    assert [texts[f"{name}#http:/e.org/{number}"] for number in range(6)] == [
        f"{PAGE.decode()}{number}" for number in range(6)
    ]
    assert texts.get(f"{name}#http:/e.org/false", "<p>False.</p>").startswith("<p>False.</p>")
    (damage,) = [row for row in rows if isinstance(row, Quarantined) and row.source == name]
    assert damage.reason == "damaged"


def test_after_damage_of_a_frame_of_zstandard_reading_goes_on_at_the_next(tmp_path: Path) -> None:
    frames = [packed_by_zstd(record(answer(PAGE * 9), f"http://e.org/{number}")) for number in range(4)]
    frames[1] = frames[1][:20] + bytes(8) + frames[1][28:]
    rows = rows_of(tmp_path, b"".join(frames), "a.warc.zst")
    assert {f"a.warc.zst#http:/e.org/{number}" for number in (0, 2, 3)} <= set(texts_of(rows))
    assert reasons_of(rows)["a.warc.zst"] == "damaged"


FALSE = re.sub(rb"Length: \d+", b"Length: 1900", record(answer(b"<p>False.</p>"), "http://e.org/false"))


# Of a false length within a frame of zstd fastwarc says nothing, and goes on at the next record that it meets.
@pytest.mark.parametrize(
    ("name", "damage"), [*((name, b"GARBAGE\r\n") for name in PACKED), ("a.warc", FALSE), ("a.warc.gz", FALSE)]
)
def test_after_damage_within_a_compressed_archive_in_one_piece_reading_goes_on(
    tmp_path: Path, name: str, damage: bytes
) -> None:
    pages = [record(answer(PAGE + b"%d" % number), f"http://e.org/{number}") for number in range(12)]
    rows = rows_of(tmp_path, PACKED[name](b"".join([*pages[:3], damage, *pages[3:]])), name)
    wanted = {f"{name}#http:/e.org/{number}": f"{PAGE.decode()}{number}" for number in range(12)}
    assert wanted.items() <= texts_of(rows).items()
    assert [row.reason for row in rows if isinstance(row, Quarantined)] == ["damaged"]
    sources = [row.source for row in rows]
    assert len(set(sources)) == len(sources)
