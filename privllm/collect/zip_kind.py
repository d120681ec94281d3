"""What a ZIP file is: an office document or a book, by the names in it, or an archive of files."""

import lzma
import struct
import zipfile
import zlib
from typing import BinaryIO

MIMETYPE = "mimetype"  # the first member of an ODF file and of an EPUB
ODF_KINDS = {b"text": "odt", b"spreadsheet": "ods", b"presentation": "odp"}
ODF_TYPE = b"application/vnd.oasis.opendocument."
OOXML_KINDS = {"word/": "docx", "ppt/": "pptx", "xl/": "xlsx"}
MAX_MIMETYPE = 100  # bytes
DAMAGE = (  # what the standard library raises for a ZIP file that is damaged, or was made to break it
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError),
    *(NotImplementedError, RuntimeError, OverflowError, LookupError),
)
ZIP_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")


def kind_of_zip(opened: BinaryIO) -> str:
    """Return "docx", "pptx", "xlsx", "odt", "ods", "odp" or "epub", "" for any other file."""
    try:
        with zipfile.ZipFile(opened) as archive:
            names = archive.NameToInfo
            if "META-INF/container.xml" in names:
                return "epub"
            if "[Content_Types].xml" in names:
                return next((kind for folder, kind in OOXML_KINDS.items() if _has_folder(archive, folder)), "")
            if MIMETYPE in names and "content.xml" in names:
                with archive.open(MIMETYPE) as member:
                    return _odf_kind(member.read(MAX_MIMETYPE))
    except DAMAGE:
        return ""  # its reader says what is wrong with it
    return ""


def _has_folder(archive: zipfile.ZipFile, folder: str) -> bool:
    return any(name.startswith(folder) for name in archive.NameToInfo)


def _odf_kind(media_type: bytes) -> str:
    """Return the kind of an ODF file, also of a template."""
    family = media_type.strip().removeprefix(ODF_TYPE).removesuffix(b"-template")
    return ODF_KINDS.get(family, "")
