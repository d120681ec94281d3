"""One document on its way through the build: its texts before and after each step, and what each step made of it.

    show(Path(), "pages/heapq.html")   show(Path(), "inbox.mbox#id")   show(Path(), "<id>")

Texts are those of the tables in data/. Before a build there is only what `collect` would read now. Nothing is written.
The raw text holds the personal data that `clean` replaces.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from privllm.collect.documents import CollectedDocument
from privllm.core.errors import UserError
from privllm.core.params import read_params
from privllm.core.records import ABOUT, document_id, whole_source
from privllm.engine.extensions import extensions_for
from privllm.manage.document_status import DATA, Fate, rows_of
from privllm.manage.source_files import SOURCES, file_holding, read
from privllm.manage.trace import trace
from privllm.manage.word_diff import Replaced, Segment, part_of, replaced, without_ends, word_diff

NAMED = 10  # documents of a folder, or sections of a document, that a message lists
TEXT = ["id", "text"]
TAGS_PER_WORD = 3  # at the ends of a section of a page, at most


class Entity(NamedTuple):
    """A name that `annotate` found."""

    label: str
    text: str


@dataclass
class Shown:
    """What there is to see of one document; a part is empty where the document, or the build, did not get that far."""

    fate: Fate
    cleaning: list[Segment] = field(default_factory=list)  # from the raw to the clean text
    replaced: list[Replaced] = field(default_factory=list)
    survivor: list[Segment] = field(default_factory=list)  # from its own clean text to that of the survivor
    repeated: list[str] = field(default_factory=list)  # lines that its site repeats, and `dedup` removed
    entities: list[Entity] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)  # as they are packed

    def steps(self) -> list[tuple[str, str]]:
        """Return (stage, what it made of the document), in the order of the build."""
        rows: list[tuple[str, str]] = []
        if row := self.fate.quarantine:
            detail = f" ({row['detail']})" if row["detail"] else ""
            rows.append(("collect", f"quarantined: {row['reason']}{detail}, {row['bytes']:,} bytes"))
        if row := self.fate.collect:
            rows.append(("collect", f"{row['media_type']}, {row['encoding']}, {row['shard']}"))
        if row := self.fate.clean:
            rows.append(("clean", self._cleaned(row)))
            if about := ", ".join(f"{name} {row[name]!r}" for name, _ in ABOUT if row.get(name)):
                rows.append(("clean", f"of itself it says: {about}"))
        if row := self.fate.dedup:
            verdict = f"dropped: {self.fate.why}" if not row["kept"] else "kept"
            if self.repeated:
                verdict += f" without lines that its site repeats ({'; '.join(self.repeated[:NAMED])})"
            rows.append(("dedup", f"{verdict}; cluster {row['cluster']}, survivor {row['survivor']}"))
        if self.fate.annotated is not None:
            found = f"{len(self.entities)} names" if self.fate.annotated else "not among the documents chosen for it"
            rows.append(("annotate", found))
        if row := self.fate.pack:
            copies = f", {row['copies']} times" if row["copies"] > 1 else ""
            runs = ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in row["rows"])
            rows.append(
                ("pack", f"{row['split']}, {row['tokens']:,} tokens{copies}, rows {runs or 'none'} of {row['file']}")
            )
        return rows

    def _cleaned(self, row: dict[str, Any]) -> str:
        verdict = "kept"
        if not row["kept"]:
            verdict = f"dropped: {row['reason']}" + (f", {row['detail']}" if row["detail"] else "")
        language = f"{row['language']} ({row['language_score']:.2f})" if row["language"] else "language not detected"
        return f"{verdict}; {language}; {row['placeholders']} pieces of personal data replaced"


def show(root: Path, word: str) -> Shown:
    """Return what there is to see of the document that `word` names.

    Raises UserError where it names nothing, or more than one document.
    """
    documents = trace(root, word).documents
    if len(documents) != 1:
        raise UserError(_too_many(word, documents))
    shown = Shown(documents[0])
    raw = _raw_text(root, shown.fate)
    clean = _text(root, ("clean", "clean/dropped"), shown.fate.id)
    if clean is None:
        shown.cleaning = [Segment("same", raw)] if raw else []
        return shown
    if whole_source(shown.fate.source) != shown.fate.source:
        is_page = (shown.fate.clean or {}).get("media_type") == "text/html"
        part = part_of(raw or "", clean, TAGS_PER_WORD if is_page else 1)
        shown.cleaning = without_ends(word_diff(part, clean))
    else:
        shown.cleaning = word_diff(raw or "", clean)
    shown.replaced = replaced(shown.cleaning)
    if shown.fate.dedup and not shown.fate.dedup["kept"]:
        survivor = _text(root, ("clean",), shown.fate.dedup["survivor"])
        shown.survivor = word_diff(clean, survivor) if survivor is not None else []
    kept = _text(root, ("dedup",), shown.fate.id)
    if kept is not None and kept in clean:
        before, _, after = clean.partition(kept)
        shown.repeated = [line.strip() for line in f"{before}\n{after}".split("\n") if line.strip()]
    if shown.fate.annotated:
        shown.entities = _entities(root, shown.fate.id, clean if kept is None else kept)
    if shown.fate.pack:
        shown.tokens = _tokens(root, shown.fate)
    return shown


def _too_many(word: str, documents: list[Fate]) -> str:
    sources = [fate.source or fate.id for fate in documents]
    names = ", ".join(sources[:NAMED]) + (", ..." if len(sources) > NAMED else "")
    are_sections = len({whole_source(source) for source in sources}) == 1
    kind = "sections" if are_sections else "documents"
    return f"{word} is {len(documents)} {kind}: name one of them, such as {names}. `privllm trace {word}` lists them."


def _raw_text(root: Path, fate: Fate) -> str | None:
    """Return the text that `clean` read; without a build, or where it was not collected, what `collect` reads now."""
    whole = whole_source(fate.source)
    text = _text(root, ("collect",), document_id(whole))
    path = file_holding(whole, root / SOURCES) if whole else None
    if text is not None or path is None:
        return text
    for row in read(path, root / SOURCES, _max_bytes(root), extensions_for("READERS", root)):
        if isinstance(row, CollectedDocument) and row.source == whole:
            return row.text
    return None


def _text(root: Path, folders: tuple[str, ...], identifier: str) -> str | None:
    for folder in folders:
        row = rows_of(root / DATA / folder, [identifier], TEXT).get(identifier)
        if row:
            return str(row["text"])
    return None


def _entities(root: Path, identifier: str, text: str) -> list[Entity]:
    columns = ["id", "entity_start", "entity_end", "entity_label"]
    row = rows_of(root / DATA / "annotate", [identifier], columns)[identifier]
    spans = zip(*(row[name] or [] for name in ("entity_label", "entity_start", "entity_end")), strict=True)
    return [Entity(label, text[start:end]) for label, start, end in spans]


def _tokens(root: Path, fate: Fate) -> list[str]:
    """Return the text of each token of the document's first copy, as it is packed."""
    from privllm.tokens.token_bytes import token_bytes

    assert fate.pack
    file = root / fate.pack["file"]
    if not file.is_file() or not (root / DATA / "tokenizer/tokenizer.json").is_file():
        return []
    spelling = token_bytes((root / DATA / "tokenizer/tokenizer.json").read_text("utf-8"))
    parts: dict[int, list[int]] = {}
    rows = sorted({row for first, last in fate.pack["rows"] for row in range(first, last + 1)})
    with pa.memory_map(str(file)) as mapped:
        table = pa.ipc.open_stream(mapped).read_all().take(pa.array(rows, pa.int64()))
        for ids, pieces in zip(table["input_ids"], table["pieces"].to_pylist(), strict=True):
            for piece in pieces:
                if piece["id"] == fate.id:
                    tokens = ids.values.to_pylist()[piece["row_start"] : piece["row_start"] + piece["tokens"]]
                    parts.setdefault(piece["document_start"], tokens)
    in_order = [token for start in sorted(parts) for token in parts[start]]
    return [spelling[token].decode("utf-8", "replace") for token in in_order]


def _max_bytes(root: Path) -> int:
    from privllm.collect.recipe import CollectConfig

    return int(read_params("collect", CollectConfig, root / "params.yaml").max_megabytes * 1e6)
