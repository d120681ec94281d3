"""Members of a ZIP file by their own headers."""

import io
import zipfile
import zlib

import pytest

from privllm.collect.cut_zip import local_members, open_local
from tests.collect.readers.test_archive import zipped


def test_members_are_found_and_unpacked() -> None:
    opened = io.BytesIO(zipped({"gr\u00fc\u00dfe.txt": b"first" * 99, "b.txt": b""}))
    members = list(local_members(opened))
    assert [(member.name, open_local(opened, member).read(5)) for member in members] == [
        ("gr\u00fc\u00dfe.txt", b"first"),
        ("b.txt", b""),
    ]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_bytes_that_changed_are_refused(method: int) -> None:
    data = bytearray(zipped({"a.txt": b"abcdefgh"}, method))
    data[40] ^= 1
    opened = io.BytesIO(data)
    (member,) = local_members(opened)
    unpacked = open_local(opened, member)
    with pytest.raises((zipfile.BadZipFile, zlib.error)):
        list(iter(lambda: unpacked.read(100), b""))


def test_a_compression_of_the_whole_archive_alone_is_named() -> None:
    opened = io.BytesIO(zipped({"a.txt": b"abcdefgh"}, zipfile.ZIP_LZMA))
    (member,) = local_members(opened)
    with pytest.raises(NotImplementedError, match="only where the archive is whole"):
        open_local(opened, member)
