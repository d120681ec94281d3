import io
import zipfile

import pytest

from privllm.collect.zip_kind import kind_of_zip
from tests.collect.test_office_text import GOOD
from tests.office_files import epub_of, zip_of


@pytest.mark.parametrize(("data", "kind"), [(data, kind) for kind, data in GOOD.items()])
def test_office_documents_are_known_by_their_parts(data: bytes, kind: str) -> None:
    assert kind_of_zip(io.BytesIO(data)) == kind


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (epub_of({"a.xhtml": "<p>a</p>"}), "epub"),
        (zip_of({"mimetype": "application/vnd.oasis.opendocument.text-template", "content.xml": ""}), "odt"),
        (zip_of({"mimetype": "application/vnd.oasis.opendocument.chart", "content.xml": ""}), ""),
        (zip_of({"word/document.xml": "a"}), ""),  # a folder called word
        (zip_of({"[Content_Types].xml": "a", "other/a.xml": ""}), ""),
        (zip_of({"a.txt": "a"}), ""),
        (b"PK\x03\x04 damaged", ""),
        (b"", ""),
    ],
)
def test_other_files(data: bytes, kind: str) -> None:
    assert kind_of_zip(io.BytesIO(data)) == kind


def test_an_archive_that_was_cut_behind_a_document_is_not_that_document() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.txt", "a")
        archive.writestr("b.docx", GOOD["docx"])
    whole = made.getvalue()
    assert kind_of_zip(io.BytesIO(whole[: whole.rindex(b"PK\x05\x06") - 60])) == ""
