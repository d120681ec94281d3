"""The archive: another library reads it, and it survives being cut anywhere."""

import gzip
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType

from privllm.core.errors import UserError
from privllm.fetch.links import links_of, sitemap_entries
from privllm.fetch.warc import Archive
from privllm.fetch.web_request import Answer

WHEN = datetime(2026, 11, 26, 5, 4, 3, tzinfo=UTC)


def answer(number: int) -> Answer:
    headers = [("Content-Type", "text/html; charset=utf-8"), ("Transfer-Encoding", "chunked"), ("X-Name", "ü")]
    request = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
    return Answer(
        f"http://a.example/{number}", WHEN, "192.0.2.1", request, 200, "OK", headers, b"page \r\n\r\n%d" % number
    )


def write(path: Path, numbers: range) -> None:
    archive = Archive(path, "privllm-fetch (+me)")
    for number in numbers:
        archive.add(answer(number))
    archive.close()


def test_fastwarc_reads_what_is_written(tmp_path: Path) -> None:
    """Oracle: fastwarc, with its check of the digests."""
    write(tmp_path / "w.warc.gz", range(3))
    with (tmp_path / "w.warc.gz").open("rb") as file:
        records = [
            (
                record.record_type,
                record.headers.get("WARC-Target-URI"),
                record.verify_block_digest(),
                record.reader.read(),
            )
            for record in ArchiveIterator(file, parse_http=False)
        ]
    assert [kind for kind, *_ in records] == [
        WarcRecordType.warcinfo,
        *[WarcRecordType.response, WarcRecordType.request] * 3,
    ]
    assert all(is_right for _, _, is_right, _ in records)
    with (tmp_path / "w.warc.gz").open("rb") as file:
        for number, record in enumerate(ArchiveIterator(file, record_types=WarcRecordType.response)):
            assert record.headers["WARC-Target-URI"] == f"http://a.example/{number}"
            assert record.headers["WARC-Date"] == "2026-11-26T05:04:03.000000Z"
            assert record.headers["WARC-IP-Address"] == "192.0.2.1"
            assert record.http_headers.status_code == 200
            assert record.http_headers["Content-Length"] == str(len(answer(number).body))
            assert record.http_headers.get("Transfer-Encoding") is None
            assert record.reader.read() == answer(number).body


def test_what_was_stored_is_read_back(tmp_path: Path) -> None:
    write(tmp_path / "w.warc.gz", range(3))
    archive = Archive(tmp_path / "w.warc.gz", "x")
    for number in range(3):
        status, headers, body = archive.read(f"http://a.example/{number}")
        assert (status, headers["content-type"], body) == (200, "text/html; charset=utf-8", answer(number).body)
    archive.close()


def test_a_file_that_was_cut_anywhere_goes_on(tmp_path: Path) -> None:
    write(tmp_path / "whole.warc.gz", range(2))
    whole = (tmp_path / "whole.warc.gz").read_bytes()
    for length in range(0, len(whole), 23):
        path = tmp_path / "w.warc.gz"
        path.write_bytes(whole[:length])
        archive = Archive(path, "x")
        left = set(archive.stored)
        archive.add(answer(9))
        archive.close()
        with path.open("rb") as file:
            found = [
                record.headers["WARC-Target-URI"]
                for record in ArchiveIterator(file, record_types=WarcRecordType.response)
            ]
        assert set(found) == left | {"http://a.example/9"}
        assert gzip.decompress(path.read_bytes()).startswith(b"WARC/1.1")


@pytest.mark.parametrize("content", [b"my notes", gzip.compress(b"my notes", mtime=0)], ids=["plain", "gzip"])
def test_another_file_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.warc.gz").write_bytes(content)
    with pytest.raises(UserError, match="no web archive"):
        Archive(tmp_path / "w.warc.gz", "x")
    assert (tmp_path / "w.warc.gz").read_bytes() == content


def test_a_broken_archive_is_not_cut(tmp_path: Path) -> None:
    write(tmp_path / "w.warc.gz", range(3))
    data = bytearray((tmp_path / "w.warc.gz").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    (tmp_path / "w.warc.gz").write_bytes(data)
    with pytest.raises(UserError, match="broken at byte"):
        Archive(tmp_path / "w.warc.gz", "x")
    assert (tmp_path / "w.warc.gz").read_bytes() == data


def test_two_processes_do_not_write_to_one_archive(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "w.warc.gz", "x")
    with pytest.raises(UserError, match="another process"):
        Archive(tmp_path / "w.warc.gz", "x")
    archive.close()


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_bytes_that_are_shared_with_the_cache_are_not_written_to(tmp_path: Path, link: object) -> None:
    write(tmp_path / "cached", range(1))
    cached = (tmp_path / "cached").read_bytes()
    link(tmp_path / "cached", tmp_path / "w.warc.gz")  # type: ignore[operator]
    write(tmp_path / "w.warc.gz", range(1, 2))
    assert (tmp_path / "cached").read_bytes() == cached
    assert (tmp_path / "w.warc.gz").read_bytes().startswith(cached)


def test_links_are_those_of_the_page() -> None:
    page = b'<base href="/x/"><a href="a#1">a</a><a href=a>a</a><area href="//b.example/c"><a href="javascript:1">j</a><a>n</a>'
    assert links_of("http://a.example/p", page) == ["http://a.example/x/a", "http://b.example/c"]


def test_a_packed_sitemap_is_unpacked_within_its_limit() -> None:
    text = b"<urlset><url><loc> http://a.example/1 </loc></url><url><loc><![CDATA[http://a.example/2]]></loc></url></urlset>"
    expected = (["http://a.example/1", "http://a.example/2"], [])
    assert sitemap_entries("http://a.example/s", gzip.compress(text), 10_000) == expected
    assert sitemap_entries("http://a.example/s", gzip.compress(text), 60) == (["http://a.example/1"], [])
    assert sitemap_entries("http://a.example/s", b"\x1f\x8bjunk", 60) == ([], [])
