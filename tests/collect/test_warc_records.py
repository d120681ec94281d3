"""Records of a WARC, and what is said of damage."""

import io

from privllm.collect.warc_records import WarcRecords
from tests.collect.readers.test_warc import RECORDS


def test_damage_is_noted_and_the_next_record_follows() -> None:
    data = RECORDS[0] + b"GARBAGE\r\n" + RECORDS[1]
    records = WarcRecords(io.BytesIO(data), len(data))
    assert [record.headers["WARC-Target-URI"] for record in records] == ["http://e.org/0", "http://e.org/1"]
    assert (records.damage, records.places) == ("Invalid WARC header", 1)


def test_a_whole_archive_has_no_damage() -> None:
    data = b"".join(RECORDS)
    records = WarcRecords(io.BytesIO(data), len(data))
    assert [records.is_cut(record) for record in records] == [False] * 4
    assert not records.places


def test_the_last_record_may_be_cut() -> None:
    data = b"".join(RECORDS)[:-10]
    records = WarcRecords(io.BytesIO(data), len(data))
    assert [records.is_cut(record) for record in records] == [False, False, False, True]
