"""Jupyter notebooks: cells of Markdown and code in their order, as Markdown, where `collect.code` is true. Outputs are left out."""

import re
from collections.abc import Iterator
from typing import Any, ClassVar

import orjson

from privllm.collect.decode import Decoded, decode
from privllm.collect.documents import Unreadable
from privllm.collect.readers.reader import Reader, Row, read_one
from privllm.collect.source_file import SourceFile

LANGUAGE = re.compile(r"[A-Za-z0-9+#_-]{1,30}")
FENCE = re.compile(r"^`{3,}", re.MULTILINE)


class NotebookReader(Reader):
    """Notebooks of Jupyter's format 4, and of format 3."""

    media_types: ClassVar = {".ipynb": "application/x-ipynb+json"}
    holds_many = False

    def read(self, file: SourceFile, max_bytes: int) -> Iterator[Row]:
        """Yield the notebook, or why it cannot be read."""
        yield read_one(file, "text/markdown", _decoded)


def _decoded(data: bytes) -> Decoded:
    """Return a notebook as Markdown. Raises `Unreadable`."""
    decoded = decode(data)
    if not decoded.text.strip():
        raise Unreadable("empty", "nothing but white space")
    try:
        notebook = orjson.loads(decoded.text)
    except orjson.JSONDecodeError as error:
        raise Unreadable("bad_json", str(error)) from None
    cells = _cells(notebook)
    language = _language(notebook)
    pieces = [piece for cell in cells if (piece := _piece(cell, language))]
    return Decoded("\n\n".join(pieces) + "\n" if pieces else "", decoded.encoding)


def _cells(notebook: Any) -> list[Any]:
    """Return the cells of a notebook. Raises `Unreadable` where it is none."""
    holder = notebook if isinstance(notebook, dict) else {}
    sheets = holder.get("worksheets")  # of format 3
    holders = [sheet for sheet in sheets if isinstance(sheet, dict)] if isinstance(sheets, list) else []
    lists = [cells for sheet in holders or [holder] if isinstance(cells := sheet.get("cells"), list)]
    if not lists:
        raise Unreadable("no_notebook", "it is JSON, but has no list of `cells`")
    return [cell for cells in lists for cell in cells]


def _piece(cell: Any, language: str) -> str:
    """Return a cell as Markdown, "" for one without text."""
    if not isinstance(cell, dict):
        return ""
    source = cell.get("source", cell.get("input", ""))
    lines = source if isinstance(source, list) else [source]
    text = "".join(line for line in lines if isinstance(line, str)).strip("\n")
    if not text.strip() or cell.get("cell_type") not in ("code", "markdown", "raw", "heading"):
        return ""
    if cell["cell_type"] == "heading":
        level = cell.get("level")
        return f"{'#' * (level if isinstance(level, int) and 0 < level < 7 else 1)} {text}"
    if cell["cell_type"] != "code":
        return text
    fence = "`" * max([3, *(len(found) + 1 for found in FENCE.findall(text))])
    return f"{fence}{language}\n{text}\n{fence}"


def _language(notebook: Any) -> str:
    """Return the name of a notebook's language, "" where it has none."""
    metadata = notebook.get("metadata") if isinstance(notebook, dict) else None
    for name, key in (("language_info", "name"), ("kernelspec", "language")):
        place = metadata.get(name) if isinstance(metadata, dict) else None
        language = place.get(key) if isinstance(place, dict) else None
        if isinstance(language, str) and LANGUAGE.fullmatch(language):
            return language
    return ""
