"""The text of an office document, by what its bytes say that it is. It runs in a process of its own (`parser_process`)."""

import io
from collections.abc import Callable

from privllm.collect.allowance import FREE_BYTES, MAX_RATIO, TooMuch
from privllm.collect.docx_text import docx_text
from privllm.collect.odf_text import odf_text
from privllm.collect.office_package import Package
from privllm.collect.parsed import NoText, Parsed
from privllm.collect.pptx_text import pptx_text
from privllm.collect.xlsx_text import xlsx_text
from privllm.collect.zip_kind import kind_of_zip

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # the first bytes of office files before 2007, and of encrypted ones
ENCRYPTED_STREAM = "EncryptedPackage".encode("utf-16-le")
OLD = "a format from before 2007: save it as .docx, .xlsx or .pptx"
OLE_KINDS = {  # by the name of a stream
    "__nameid_version1.0": "a message of Outlook (.msg): save it as .eml",
    "WordDocument": "a document of Word from before 2007: save it as .docx",
    "Workbook": "a table of Excel from before 2007: save it as .xlsx",
    "PowerPoint Document": "a presentation of PowerPoint from before 2007: save it as .pptx",
}
PARSERS: dict[str, Callable[[Package], Parsed]] = {
    "docx": docx_text,
    "pptx": pptx_text,
    "xlsx": xlsx_text,
    "odt": odf_text,
    "ods": odf_text,
    "odp": odf_text,
}


def office_text(data: bytes) -> Parsed:
    """Return the text of an office document. Raises `NoText`."""
    if data.startswith(OLE):
        if ENCRYPTED_STREAM in data:
            raise NoText("encrypted", "a password is needed: save it without one")
        raise NoText(
            "unsupported", next((kind for name, kind in OLE_KINDS.items() if name.encode("utf-16-le") in data), OLD)
        )
    package = Package(io.BytesIO(data), max(FREE_BYTES, MAX_RATIO * len(data)))
    parser = PARSERS.get(kind_of_zip(io.BytesIO(data)))
    if parser is None:
        raise NoText("damaged", "it is a ZIP file without the parts of an office document")
    try:
        return parser(package)
    except TooMuch:
        raise NoText(
            "too_much", f"it unpacks to over {MAX_RATIO} times its size: save it anew, if it is no attack"
        ) from None
    except RecursionError:
        raise NoText("too_deep", "its parts lie too deep inside each other: save it anew") from None
