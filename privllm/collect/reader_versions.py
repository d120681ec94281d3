"""Versions of what a reader needs: an upgrade reads again what that reader read, and nothing else.

A version is a short digest of the reader's libraries with their versions. It stands with every file
and every entry in collect's memory (`seen_files`), and in the names of shards.
"""

import importlib.metadata
from collections.abc import Mapping

from privllm.collect.readers.reader import Reader
from privllm.collect.readers.registry import READERS
from privllm.core.seed import digest
from privllm.engine.libraries_apart import APART
from privllm.engine.programs import tesseract_version

NO_VERSION = ""  # of a reader that the standard library suffices, and of what no reader has read
OWN = "own"  # name of the readers of extensions, which may use any library
DECODING = ("charset-normalizer", "resiliparse")  # of collect.decode
LIBRARIES: Mapping[str, tuple[str, ...]] = {  # by name of the reader
    **dict.fromkeys(("html", "text", "rst", "latex", "code", "csv_table", "mail"), DECODING),
    **dict.fromkeys(("jsonl", "json_file", "notebook"), ("orjson", *DECODING)),
    "pdf": ("pypdfium2",),
    "warc": ("brotli", "fastwarc"),
    OWN: tuple(sorted(APART["collect"])),
}
WITH_OCR = ("pdf",)
NAMES = {id(reader): name for name, reader in READERS.items()}

Versions = Mapping[str, str]  # by name of the reader
NO_VERSIONS: Versions = {}


def versions_installed(languages: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the version of every reader that needs a library, or tesseract for some `languages` of scanned pages.

    Raises UserError where that is missing.
    """
    versions = {}
    for name, libraries in LIBRARIES.items():
        installed = [f"{library} {_version_of(library)}" for library in libraries]
        if name in WITH_OCR and languages:
            installed.append(tesseract_version(languages))
        versions[name] = digest(", ".join(installed).encode())[:8]
    return versions


def version_of(reader: Reader, versions: Versions) -> str:
    """Return the version of a reader."""
    return versions.get(NAMES.get(id(reader), OWN), NO_VERSION)


def _version_of(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "(none)"
