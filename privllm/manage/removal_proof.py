"""Is anything of some documents left in the build? Every file that dvc.yaml declares as an output is read, and what is found in it
is held against what the remaining documents say themselves.

Ids, digests and sources are looked for as whole strings, ids and digests also inside longer ones; runs of words in every string
of Parquet, Arrow and JSON, in HTML and other text as written and as displayed, and in the text of packed tokens. In binary files
(weights) only ids and digests can be. A find that a document which stays says too, read again from data/sources, is no evidence.
"""

import html
import json
import mmap
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from privllm.core.records import document_id
from privllm.engine.executor import map_shards
from privllm.engine.pipeline import declared_stages, outputs_of
from privllm.manage.evidence import Evidence, load, runs_of

HEX_DIGITS = np.isin(np.arange(256), list(b"0123456789abcdef"))
NAME_BYTES = 32  # of an id or digest, hexadecimal
BLOCK_BYTES = 16 << 20
TAG = re.compile(r"<[^>]*>")
ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
PROBE_BYTES = 8192
BATCH_ROWS = 1000
TOKENIZER = "data/tokenizer/tokenizer.json"


@dataclass
class Found:
    """What of the evidence stands somewhere."""

    names: set[str] = field(default_factory=set)
    runs: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))  # distinct, sorted

    def __bool__(self) -> bool:
        return bool(self.names) or len(self.runs) > 0

    def add(self, other: "Found") -> None:
        self.names = self.names | other.names
        self.runs = np.union1d(self.runs, other.runs)

    def minus(self, other: "Found") -> "Found":
        return Found(self.names - other.names, np.setdiff1d(self.runs, other.runs, assume_unique=True))


@dataclass
class Searched:
    """One file: what was found, and by which other documents, in its rows, that may be explained."""

    found: Found
    said_by: dict[str, Found]  # by source
    binary: bool


@dataclass
class Proof:
    """`left` is empty where nothing but what other documents say was found."""

    files: int = 0
    bytes: int = 0
    binary: int = 0  # files in which no words could be looked for
    shared: Found = field(default_factory=Found)  # found, and said by documents that stay
    sayers: dict[str, int] = field(default_factory=dict)  # source of a document that stays: runs it explains
    left: dict[str, Found] = field(default_factory=dict)  # by file


def outputs(root: Path) -> list[Path]:
    """Every file that stands where dvc.yaml declares an output, a metric or a plot."""
    paths = {root / path for stage in declared_stages(root).values() for path in outputs_of(stage)}
    files = {file for path in paths for file in ([path] if path.is_file() else path.rglob("*"))}
    return sorted(file for file in files if file.is_file())


def prove(root: Path, note: Path, read_again: Callable[[str], Iterable[tuple[str, list[str]]]]) -> Proof:
    """Search every output for the evidence in the file `note`.

    read_again(source): (digest, texts) of the document that the sources hold under that name today; nothing where there is none.
    """
    evidence = load(note)
    paths = outputs(root)
    searched = map_shards(search_file, [(path, note, root / TOKENIZER) for path in paths], "proof")
    proof = Proof(len(paths), sum(path.stat().st_size for path in paths), sum(one.binary for one in searched))
    for one in searched:
        for source, said in one.said_by.items():
            if said.minus(proof.shared):
                _explain(proof, evidence, source, read_again)
    for path, one in zip(paths, searched, strict=True):
        if left := one.found.minus(proof.shared):
            proof.left[str(path.relative_to(root))] = left
    return proof


def _explain(proof: Proof, evidence: Evidence, source: str, read_again: Callable[[str], Iterable[tuple[str, list[str]]]]) -> None:
    """Add what the document that is `source` today says itself to what is shared."""
    for digest, texts in read_again(source):
        said = _in_texts(texts, evidence)
        said.names = {digest} & evidence.digests
        if new := said.minus(proof.shared):
            proof.sayers[source] = len(new.runs)
            proof.shared.add(new)


def search_file(path: Path, note: Path, tokenizer: Path) -> Searched:
    """What of the evidence in `note` stands in one file."""
    evidence = _evidence(note, note.stat().st_mtime_ns)
    said_by: dict[str, Found] = {}
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            found = _in_table(file.iter_batches(BATCH_ROWS, use_threads=False), evidence, said_by)
        return Searched(found, said_by, False)
    if path.suffix == ".arrow":
        with pa.memory_map(str(path)) as mapped:
            batches = list(pa.ipc.open_stream(mapped))
            found = _in_table(batches, evidence, said_by)
            found.add(_in_texts(list(_unpacked(batches, tokenizer)), evidence))
        return Searched(found, said_by, False)
    with path.open("rb") as file:
        if b"\0" in file.read(PROBE_BYTES):
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return Searched(Found(names_in(data) & evidence.names), {}, True)
    text = path.read_text("utf-8", "replace")
    found = _in_texts([view for string in _strings(text, path.suffix) for view in views(string)], evidence)
    return Searched(found, {}, False)


@lru_cache(1)
def _evidence(note: Path, modified: int) -> Evidence:
    return load(note)


def _in_texts(texts: list[str], evidence: Evidence) -> Found:
    """Evidence in strings, each by itself."""
    found = Found(evidence.names.intersection(texts))
    longer = [text for text in texts if len(text) > NAME_BYTES]
    found.names |= evidence.names & names_in("\n".join(longer).encode("utf-8", "replace"))
    runs = np.concatenate([np.zeros(0, np.uint64), *runs_of(texts)])
    found.runs = np.unique(runs[evidence.among(runs)])
    return found


def _in_table(batches: Iterable[pa.RecordBatch], evidence: Evidence, said_by: dict[str, Found]) -> Found:
    """Evidence in every string column. Rows of other documents go to `said_by`, but for what those before them say too."""
    found, explained = Found(), Found()
    for batch in batches:
        for column in batch.columns:
            for strings in strings_of(column):
                found.add(_in_texts([text for text in strings.to_pylist() if text is not None], evidence))
        if not {"id", "source", "digest", "text"} <= set(batch.schema.names) or not found.minus(explained):
            continue
        for row in batch.select(["id", "source", "digest", "text"]).to_pylist():
            if row["id"] not in evidence.ids and row["id"] == document_id(row["source"]):
                said = _in_texts([row["digest"], row["text"]], evidence)
                if said.minus(explained):
                    said_by[row["source"]] = said
                    explained.add(said)
    return found


def strings_of(column: pa.Array) -> Iterator[pa.Array]:
    """The string arrays within a column, however nested."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield column
    elif pa.types.is_dictionary(kind):
        yield from strings_of(column.dictionary)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from strings_of(column.flatten())
    elif pa.types.is_struct(kind):
        for part in column.flatten():
            yield from strings_of(part)


def _unpacked(batches: list[pa.RecordBatch], tokenizer: Path) -> Iterator[str]:
    """The texts that a shard's rows were packed from: rows overlap by one token, and a boundary stands between documents."""
    from privllm.core.special_tokens import END_OF_TEXT

    parts: list[np.ndarray] = []
    for batch in batches:
        if "input_ids" in batch.schema.names and len(batch):
            column = batch.column("input_ids")
            offsets = column.offsets.to_numpy()
            kept = np.ones(offsets[-1] - offsets[0], bool)
            kept[offsets[:-1] - offsets[0]] = False
            kept[:1] |= not parts
            parts.append(column.values.to_numpy()[offsets[0] : offsets[-1]][kept])
    stream = np.concatenate(parts or [np.zeros(0, np.int32)])
    for part in np.split(stream, np.flatnonzero(stream == END_OF_TEXT)):
        if len(tokens := part[part != END_OF_TEXT]):
            yield _encoder(tokenizer).decode(tokens)


@lru_cache(1)
def _encoder(tokenizer: Path) -> Any:
    from privllm.tokens.encode import Encoder

    return Encoder.open(tokenizer.parent)


def _strings(text: str, suffix: str) -> Iterator[str]:
    """Every string of a JSON file, keys included; otherwise the whole text."""
    try:
        waiting = [json.loads(text)] if suffix == ".json" else [text]
    except ValueError:
        waiting = [text]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += [*value, *value.values()]


def views(text: str) -> set[str]:
    """A text as it is, without the backslashes of JSON inside it, and each of these as a browser shows it, whole and in pieces."""
    plain = {text, ESCAPE.sub(_unescaped, text)} if "\\" in text else {text}
    shown = {html.unescape(TAG.sub(" ", one)) for one in plain if "<" in one or "&" in one}
    pieces = {html.unescape(piece).strip() for one in plain if "<" in one for piece in TAG.split(one)}
    return plain | shown | pieces | {line.strip() for line in text.splitlines()}


def _unescaped(found: re.Match[str]) -> str:
    code = found[1] or found[2]
    return chr(int(code, 16)) if code else " " if found[3] in "nrtbf" else found[3]


def names_in(data: bytes | mmap.mmap) -> set[str]:
    """Every run of exactly 32 hexadecimal digits."""
    found = set()
    for start in range(0, len(data), BLOCK_BYTES):
        block = data[max(0, start - NAME_BYTES - 1) : start + BLOCK_BYTES]
        inside = np.zeros(len(block) + 2, bool)
        inside[1:-1] = HEX_DIGITS[np.frombuffer(block, np.uint8)]
        edges = np.flatnonzero(inside[1:] != inside[:-1])
        begins = edges[::2][np.diff(edges)[::2] == NAME_BYTES]
        found |= {block[begin : begin + NAME_BYTES].decode() for begin in begins.tolist()}
    return found
