"""Verification that no trace of some documents is left in the build's outputs.

Reads every file that dvc.yaml declares as an output, and what `privllm promote` recorded.
Ids, digests and sources are searched for as whole strings, ids and digests also inside longer strings;
word runs in every string of Parquet, Arrow and JSON files, in HTML and other text as written and as
displayed, and in the text of packed tokens. In binary files (weights) only ids and digests can be
searched for. A match is no evidence where a remaining document, read again from data/sources, contains
the same text.
"""

import html
import json
import mmap
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from privllm.core.json_strings import strings_in
from privllm.core.promoted import SIDES_FILE, SIDES_FOLDER
from privllm.core.records import document_id
from privllm.core.special_tokens import SpecialIds
from privllm.dedup.exact import normalised_digest
from privllm.engine.executor import map_shards
from privllm.engine.pipeline import declared_stages, outputs_of
from privllm.manage.forgotten_documents import ForgottenDocuments, hash_word_runs, load
from privllm.tokens.kept_vocabulary import KEPT, VOCABULARY
from privllm.tokens.special_ids import special_ids

HEX_DIGITS = np.isin(np.arange(256), list(b"0123456789abcdef"))
NAME_BYTES = 32  # of an id or digest, hexadecimal
BLOCK_BYTES = 16 << 20
TAG = re.compile(r"<[^>]*>")
ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
PROBE_BYTES = 8192
BATCH_ROWS = 1000
TOKENIZER = "data/tokenizer/tokenizer.json"
DOCUMENT_COLUMNS = ["id", "source", "digest", "text"]
# (digest, texts) of the document that data/sources holds under a source now; empty where there is none
ReadSource = Callable[[str], Iterable[tuple[str, list[str]]]]


@dataclass
class Matches:
    """Traces of forgotten documents that a text contains."""

    names: set[str] = field(default_factory=set)
    runs: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))  # distinct, sorted

    def __bool__(self) -> bool:
        return bool(self.names) or len(self.runs) > 0

    def add(self, more: "Matches") -> None:
        self.names = self.names | more.names
        self.runs = np.union1d(self.runs, more.runs)

    def minus(self, explained: "Matches") -> "Matches":
        runs = np.setdiff1d(self.runs, explained.runs, assume_unique=True)
        return Matches(self.names - explained.names, runs)


@dataclass
class FileMatches:
    """Matches in one file, and which remaining documents in its rows may explain them."""

    matches: Matches
    explained_by: dict[str, Matches]  # by source
    binary: bool


@dataclass
class RemovalProof:
    """Result of the search; `left` is empty where remaining documents explain every match."""

    files: int = 0
    bytes: int = 0
    binary: int = 0  # files in which no words could be searched for
    shared: Matches = field(default_factory=Matches)  # matches that remaining documents contain too
    explained_by: dict[str, int] = field(default_factory=dict)  # by source of a remaining document: runs
    left: dict[str, Matches] = field(default_factory=dict)  # by file


def output_files(root: Path) -> list[Path]:
    """Return every file that exists where dvc.yaml declares an output, a metric or a plot, sorted."""
    files: set[Path] = set()
    for stage in declared_stages(root).values():
        for output in outputs_of(stage):
            path = root / output
            files.update([path] if path.is_file() else path.rglob("*"))
    return sorted(file for file in files if file.is_file())


def _kept_records(root: Path) -> list[Path]:
    """Return the files with names of documents that commands wrote, and that a build reads."""
    paths = [root / SIDES_FOLDER / SIDES_FILE, *(root / VOCABULARY / KEPT).glob("*")]
    return [path for path in paths if path.is_file()]


def prove_removal(root: Path, note: Path, read_source: ReadSource) -> RemovalProof:
    """Search every output, and what commands kept, for the traces in the file `note`."""
    forgotten = load(note)
    paths = sorted([*output_files(root), *_kept_records(root)])
    results = map_shards(search_file, [(path, note, root / TOKENIZER) for path in paths], "proof")
    total_bytes = sum(path.stat().st_size for path in paths)
    proof = RemovalProof(len(paths), total_bytes, sum(result.binary for result in results))
    for result in results:
        for source, matches in result.explained_by.items():
            if matches.minus(proof.shared):
                _explain(proof, forgotten, source, read_source)
    for path, result in zip(paths, results, strict=True):
        unexplained = result.matches.minus(proof.shared)
        if unexplained:
            proof.left[str(path.relative_to(root))] = unexplained
    return proof


def _explain(proof: RemovalProof, forgotten: ForgottenDocuments, source: str, read_source: ReadSource) -> None:
    """Add to the shared matches what the document now at `source` contains itself."""
    for digest, texts in read_source(source):
        matches = _search_texts(texts, forgotten)
        matches.names = {digest, *map(normalised_digest, texts)} & forgotten.digests
        unexplained = matches.minus(proof.shared)
        if unexplained:
            proof.explained_by[source] = len(unexplained.runs)
            proof.shared.add(unexplained)


def search_file(path: Path, note: Path, tokenizer: Path) -> FileMatches:
    """Search one file for the traces in the file `note`."""
    forgotten = _load_cached(note, note.stat().st_mtime_ns)
    if path.suffix == ".parquet":
        return _search_parquet(path, forgotten)
    if path.suffix == ".arrow":
        return _search_arrow(path, forgotten, tokenizer)
    with path.open("rb") as file:
        if b"\0" in file.read(PROBE_BYTES):
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                names = hex_names(data) & forgotten.names
            return FileMatches(Matches(names), {}, True)
    text = path.read_text("utf-8", "replace")
    texts: list[str] = []
    for string in _strings_in(text, path.suffix):
        texts += views(string)
    return FileMatches(_search_texts(texts, forgotten), {}, False)


@lru_cache(1)
def _load_cached(note: Path, modified: int) -> ForgottenDocuments:
    return load(note)


def _search_parquet(path: Path, forgotten: ForgottenDocuments) -> FileMatches:
    explained_by: dict[str, Matches] = {}
    with pq.ParquetFile(path) as file:
        batches = file.iter_batches(BATCH_ROWS, use_threads=False)
        matches = _search_table(batches, forgotten, explained_by)
    return FileMatches(matches, explained_by, False)


def _search_arrow(path: Path, forgotten: ForgottenDocuments, tokenizer: Path) -> FileMatches:
    explained_by: dict[str, Matches] = {}
    with pa.memory_map(str(path)) as mapped:
        batches = list(pa.ipc.open_stream(mapped))
        matches = _search_table(batches, forgotten, explained_by)
        matches.add(_search_texts(list(_decode_packed(batches, tokenizer)), forgotten))
    return FileMatches(matches, explained_by, False)


def _search_texts(texts: list[str], forgotten: ForgottenDocuments) -> Matches:
    """Search strings, each by itself."""
    names = forgotten.names.intersection(texts)
    long_texts = "\n".join(text for text in texts if len(text) > NAME_BYTES)
    names |= forgotten.names & hex_names(long_texts.encode("utf-8", "replace"))
    runs = np.concatenate([np.zeros(0, np.uint64), *hash_word_runs(texts)])
    return Matches(names, np.unique(runs[forgotten.has_runs(runs)]))


def _search_table(
    batches: Iterable[pa.RecordBatch],
    forgotten: ForgottenDocuments,
    explained_by: dict[str, Matches],
) -> Matches:
    """Search every string column; add to `explained_by` the remaining documents that explain a match."""
    matches, explained = Matches(), Matches()
    for batch in batches:
        for column in batch.columns:
            for strings in string_arrays(column):
                texts = strings.drop_null().to_pylist()
                matches.add(_search_texts(texts, forgotten))
        if not set(DOCUMENT_COLUMNS) <= set(batch.schema.names) or not matches.minus(explained):
            continue
        for row in batch.select(DOCUMENT_COLUMNS).to_pylist():
            if row["id"] in forgotten.ids or row["id"] != document_id(row["source"]):
                continue
            row_matches = _search_texts([row["digest"], row["text"]], forgotten)
            if row_matches.minus(explained):
                explained_by[row["source"]] = row_matches
                explained.add(row_matches)
    return matches


def string_arrays(column: pa.Array) -> Iterator[pa.Array]:
    """Yield the string arrays within a column, however nested."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield column
    elif pa.types.is_dictionary(kind):
        yield from string_arrays(column.dictionary)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from string_arrays(column.flatten())
    elif pa.types.is_struct(kind):
        for child in column.flatten():
            yield from string_arrays(child)


def _decode_packed(batches: list[pa.RecordBatch], tokenizer: Path) -> Iterator[str]:
    """Yield the texts that a shard was packed from, and then what no piece of a document names."""
    parts_at: dict[str, dict[int, list[np.ndarray]]] = {}  # {id: {document_start: tokens of each copy}}
    unnamed: list[np.ndarray] = []
    last_token = -1
    for batch in batches:
        if "input_ids" not in batch.schema.names:
            continue
        pieces_of_rows = batch.column("pieces").to_pylist() if "pieces" in batch.schema.names else [[]] * len(batch)
        for row, pieces in zip(batch.column("input_ids"), pieces_of_rows, strict=True):
            tokens = row.values.to_numpy()
            is_unnamed = np.ones(len(tokens), bool)
            is_unnamed[0] = tokens[0] != last_token  # rows of one document overlap by one token
            last_token = tokens[-1]
            for piece in pieces:
                begin, end = piece["row_start"], piece["row_start"] + piece["tokens"]
                is_unnamed[begin - 1 : end] = False  # what precedes a piece is a boundary, or repeats the piece before
                parts_of_document = parts_at.setdefault(piece["id"], {})
                parts_of_document.setdefault(piece["document_start"], []).append(tokens[begin:end])
            unnamed.append(tokens[is_unnamed])
    encoder = _encoder(tokenizer)
    for tokens in [*_whole_documents(parts_at), *_between_boundaries(unnamed, _special_ids(tokenizer))]:
        if len(tokens):
            yield encoder.decode(tokens)


def _whole_documents(parts_at: dict[str, dict[int, list[np.ndarray]]]) -> Iterator[np.ndarray]:
    """Yield the tokens of each copy of each document."""
    for parts_of_document in parts_at.values():
        in_order = [parts_of_document[start] for start in sorted(parts_of_document)]
        for parts in zip_longest(*in_order, fillvalue=np.zeros(0, np.int32)):
            yield np.concatenate(parts)


def _between_boundaries(parts: list[np.ndarray], special: SpecialIds) -> Iterator[np.ndarray]:
    boundaries = (special.begin, special.end)
    tokens = np.concatenate([np.zeros(0, np.int32), *parts])
    for text in np.split(tokens, np.flatnonzero(np.isin(tokens, boundaries))):
        yield text[~np.isin(text, boundaries)]


@lru_cache(1)
def _special_ids(tokenizer: Path) -> SpecialIds:
    return special_ids(tokenizer.parent)


@lru_cache(1)
def _encoder(tokenizer: Path) -> Any:
    from privllm.tokens.encode import Encoder

    return Encoder.open(tokenizer.parent)


def _strings_in(text: str, extension: str) -> Iterator[str]:
    """Yield every string of a JSON file, or of one JSON object a line, keys included; for other files the whole text."""
    values: list[Any] = [text]
    with suppress(ValueError):
        if extension == ".json":
            values = [json.loads(text)]
        elif extension == ".jsonl":
            values = [json.loads(line) for line in text.split("\n") if line.strip()]
    yield from strings_in(values, with_keys=True)


def views(text: str) -> set[str]:
    """Return a text in every form in which it may have been written.

    As it is, line by line, without JSON's backslashes, and without HTML's tags and entities: whole, and
    cut at each tag.
    """
    unescaped = {text, ESCAPE.sub(_unescape, text)} if "\\" in text else {text}
    forms = set(unescaped)
    for form in unescaped:
        if "<" in form or "&" in form:
            forms.add(html.unescape(TAG.sub(" ", form)))
        if "<" in form:
            forms |= {html.unescape(piece).strip() for piece in TAG.split(form)}
    forms |= {line.strip() for line in text.splitlines()}
    return forms


def _unescape(escape: re.Match[str]) -> str:
    code = escape[1] or escape[2]
    if code:
        return chr(int(code, 16))
    return " " if escape[3] in "nrtbf" else escape[3]


def hex_names(data: bytes | mmap.mmap) -> set[str]:
    """Return every run of exactly 32 hexadecimal digits."""
    names = set()
    for start in range(0, len(data), BLOCK_BYTES):
        block = data[max(0, start - NAME_BYTES - 1) : start + BLOCK_BYTES]
        is_digit = np.zeros(len(block) + 2, bool)
        is_digit[1:-1] = HEX_DIGITS[np.frombuffer(block, np.uint8)]
        edges = np.flatnonzero(is_digit[1:] != is_digit[:-1])
        lengths = np.diff(edges)[::2]
        begins = edges[::2][lengths == NAME_BYTES]
        names |= {block[begin : begin + NAME_BYTES].decode() for begin in begins.tolist()}
    return names
