"""Office documents: Word, Excel, PowerPoint and OpenDocument, one document a file, as light Markdown."""

from collections.abc import Iterator
from functools import partial
from typing import ClassVar

from privllm.collect.documents import Quarantined
from privllm.collect.parser_process import parse
from privllm.collect.readers.reader import TOO_LARGE, Read, Reader, Row, not_opened, read_one
from privllm.collect.source_file import SourceFile
from privllm.collect.zip_kind import kind_of_zip

OOXML, ODF = "application/vnd.openxmlformats-officedocument.", "application/vnd.oasis.opendocument."
KINDS = {
    "docx": f"{OOXML}wordprocessingml.document",
    "pptx": f"{OOXML}presentationml.presentation",
    "xlsx": f"{OOXML}spreadsheetml.sheet",
    "odt": f"{ODF}text",
    "ods": f"{ODF}spreadsheet",
    "odp": f"{ODF}presentation",
}
WITH_MACROS = {".docm": "docx", ".pptm": "pptx", ".ppsx": "pptx", ".xlsm": "xlsx"}


class OfficeReader(Reader):
    """Office documents. Encrypted ones, and those in a format from before 2007, are refused with what to do."""

    media_types: ClassVar = {
        **{f".{kind}": media_type for kind, media_type in KINDS.items()},
        **{suffix: KINDS[kind] for suffix, kind in WITH_MACROS.items()},
    }
    holds_many = False
    signatures = (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",)  # of an encrypted document; the others are ZIP files

    def read(self, file: SourceFile, max_bytes: int) -> Iterator[Row]:
        """Yield the document, or why it cannot be read."""
        try:
            with file.open() as opened:
                kind = kind_of_zip(opened)
            size = file.size
        except OSError as error:
            yield not_opened(file, error)
            return
        if size > max_bytes:  # one that is called an archive was let through
            yield Quarantined(file.source, "", size, "too_large", TOO_LARGE)
        else:
            yield read_one(file, KINDS.get(kind, ""), partial(_decoded, kind))


def _decoded(kind: str, data: bytes) -> Read:
    parsed = parse("office", data)
    return Read(parsed.text, kind, parsed.about)
