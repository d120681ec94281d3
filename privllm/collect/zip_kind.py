"""What a ZIP file is: an office document or a book, by the names in it, or an archive of files."""

import lzma
import struct
import zipfile
import zlib
from typing import BinaryIO, cast

MIMETYPE = "mimetype"  # the first member of an ODF file and of an EPUB
ODF_KINDS = {b"text": "odt", b"spreadsheet": "ods", b"presentation": "odp"}
ODF_TYPE = b"application/vnd.oasis.opendocument."
OOXML_KINDS = {"word/": "docx", "ppt/": "pptx", "xl/": "xlsx"}
MAX_MIMETYPE = 100  # bytes
DAMAGE = (  # what the standard library raises for a ZIP file that is damaged, or was made to break it
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError),
    *(NotImplementedError, RuntimeError, OverflowError, LookupError),
)
ENCRYPTED = 1 | 1 << 6  # of the flags
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
OTHER_METHODS = {9: "Deflate64", 93: "Zstandard", 95: "XZ", 98: "PPMd"}
LOCAL_HEADER = b"PK\x03\x04"  # before each member
ZIP_SIGNATURES = (LOCAL_HEADER, b"PK\x05\x06")


def kind_of_zip(opened: BinaryIO) -> str:
    """Return "docx", "pptx", "xlsx", "odt", "ods", "odp" or "epub", "" for any other file."""
    try:
        with zipfile.ZipFile(opened) as archive:
            require_own_directory(opened, archive)
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


def open_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    """Return a member to be read. Raises one of DAMAGE: what `require_known` does, with a reason for people."""
    require_known(info.flag_bits, info.compress_type)
    return cast(BinaryIO, archive.open(info))


def require_known(flags: int, method: int) -> None:
    """Raise RuntimeError for a member with a password, NotImplementedError for one whose compression is not known."""
    if flags & ENCRYPTED:
        raise RuntimeError("it is encrypted, a password is needed: save it without one")
    if method not in METHODS:
        name = OTHER_METHODS.get(method, f"method {method}")
        raise NotImplementedError(f"its compression ({name}) is not known: pack it with Deflate")


def require_own_directory(opened: BinaryIO, archive: zipfile.ZipFile) -> None:
    """Raise BadZipFile where the directory that was found is that of an archive within the archive, which was cut behind it."""
    opened.seek(0)
    first = min((info.header_offset for info in archive.infolist()), default=0)
    if first and opened.read(len(LOCAL_HEADER)) == LOCAL_HEADER:
        raise zipfile.BadZipFile("the directory is another archive's")
