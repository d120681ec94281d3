"""Bits per byte of held-out documents without any training worth the name: three compressors and a 5-gram model.

A model that needs more bits than `xz` has learnt less than what repeats within the held-out text itself.

gzip -9, bzip2 -9, xz -9e    the documents one after the other, in the order of their ids
5-gram                       of words, learnt on the training documents in the vocabulary's sample, up to `TRAINING_BYTES`

The 5-gram model is interpolated modified Kneser-Ney (`stats.kneser_ney`). Its words are runs of letters and digits, or single other
characters, with the blank before them; below the single word stands a 5-gram model of the bytes of words, learnt on the different
words of the training text, so a word that was never seen has a probability, too: its probabilities over all texts sum to at most 1. It
also predicts where a document ends.
"""

import bz2
import gzip
import lzma
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from privllm.core.tables import by_id, read_table, shards_of
from privllm.engine.store import NO_STORE, Store
from privllm.stats.kneser_ney import UNKNOWN, KneserNey
from privllm.tokens.vocabulary_sample import sample_texts

ORDER = 5
TRAINING_BYTES = 16_000_000  # text that the 5-gram model learns from: 8 seconds and 600 MB of memory
XZ, NGRAM = "xz -9e", "5-gram"
WORDS = re.compile(r" ?\w{1,16}| ?[^\w\s]|\s")  # few enough bytes for the probability of a word to be a float64
END = 1  # of a document, among words; of a word, among bytes
FIRST = 2  # the first word, or byte
Spans = dict[str, list[tuple[int, int]]]  # {id: copied runs, in bytes}


def baselines(corpus: Path, judged: Path, out: Path, store: Store = NO_STORE) -> dict[str, Any]:
    """Return bits per byte of the test documents of data/dedup that a model was judged by, to stand beside its own.

    judged: the model's documents.parquet. Families that are judged by the same documents share the result. `out` is for
    scratch files.
    """
    ids = tuple(sorted(read_table(judged, ["id"])["id"].to_pylist()))
    files = [tuple(shards_of(folder)) for folder in (corpus, corpus / "sample", corpus / "copied")]
    (figures,) = store.map(measure, [(ids, *files)], out, "baselines")
    return figures


def measure(
    out: Path,
    ids: tuple[str, ...],
    shards: tuple[Path, ...],
    sample: tuple[Path, ...],
    copied: tuple[Path, ...],
) -> dict[str, Any]:
    """Return the figures of `baselines`, without bits where no test document was judged; write nothing."""
    documents = by_id(_of(ids, shards, ["id", "text", "split"]))
    documents = documents.filter(pc.equal(documents["split"], "test"))
    texts = documents["text"].to_pylist()
    spans: Spans = {}
    for row in _of(ids, copied, ["id", "begin", "end"]).to_pylist():
        spans.setdefault(row["id"], []).append((row["begin"], row["end"]))
    training_texts = _first(sample_texts(sample), TRAINING_BYTES)
    encoded = "".join(texts).encode()
    if not encoded:
        return {"documents": len(texts), "bytes": 0}
    figures = {name: 8 * size / len(encoded) for name, size in compressed_sizes(encoded).items()}
    model = WordModel(training_texts)
    copied_runs = [spans.get(identifier, []) for identifier in documents["id"].to_pylist()]
    figures[NGRAM], clean = ngram_figures(model, texts, copied_runs)
    return {
        "documents": len(texts),
        "bytes": len(encoded),
        "training_bytes": sum(len(text.encode()) for text in training_texts),
        "bits_per_byte": {name: round(bits, 6) for name, bits in figures.items()},
        "bits_per_byte_clean": {NGRAM: None if clean is None else round(clean, 6)},
    }


def _first(texts: Sequence[str], size: int) -> list[str]:
    """Return the first texts, as many as do not exceed `size` bytes, but at least one."""
    ends = np.cumsum([len(text.encode()) for text in texts])
    return list(texts[: max(1, int(np.searchsorted(ends, size, side="right")))])


def compressed_sizes(encoded: bytes) -> dict[str, int]:
    """Return the bytes that each compressor needs."""
    return {
        "gzip -9": len(gzip.compress(encoded, 9, mtime=0)),
        "bzip2 -9": len(bz2.compress(encoded, 9)),
        XZ: len(lzma.compress(encoded, preset=9 | lzma.PRESET_EXTREME)),
    }


def ngram_figures(
    model: "WordModel", texts: Sequence[str], copied_runs: Sequence[list[tuple[int, int]]]
) -> tuple[float, float | None]:
    """Return bits per byte of all words, and of those that lie in no copied run; None where there is no such word.

    The end of a document counts as a part of its last word.
    """
    nats = clean_nats = 0.0
    size = clean_size = 0
    for word_nats, text, runs in zip(model.nats(texts), texts, copied_runs, strict=True):
        sizes = np.array([len(word.encode()) for word in words_of(text)], np.int64)
        is_clean = ~_is_within(sizes, runs)
        of_words, of_end = word_nats[:-1], word_nats[-1]
        nats += float(word_nats.sum())
        size += int(sizes.sum())
        clean_nats += float(of_words[is_clean].sum()) + (float(of_end) if is_clean[-1:].any() else 0.0)
        clean_size += int(sizes[is_clean].sum())
    return nats / math.log(2) / size, clean_nats / math.log(2) / clean_size if clean_size else None


class WordModel:
    """The 5-gram model of words above the 5-gram model of their bytes."""

    def __init__(self, texts: Sequence[str]) -> None:
        documents = [pa.array(words_of(text), pa.string()) for text in texts]
        self.vocabulary = pc.unique(pa.chunked_array(documents, pa.string()))
        self.spelling = KneserNey([_spelt(word) for word in self.vocabulary.to_pylist()], ORDER)
        self.words = KneserNey([self._numbers(document) for document in documents], ORDER)
        self.end_share = len(documents) / (
            len(documents) + sum(map(len, documents))
        )  # below the single word, where nothing is spelt

    def nats(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return -ln of the probability of each word of each text, and of its end after them: float64."""
        documents = [pa.array(words_of(text), pa.string()) for text in texts]
        different = pc.unique(pa.chunked_array(documents, pa.string()))
        spellings = self.spelt_probability(different.to_pylist())
        below = []
        for document in documents:
            of_words = spellings[pc.index_in(document, different).to_numpy(zero_copy_only=False)]
            below.append(np.append((1 - self.end_share) * of_words, self.end_share))
        probabilities = self.words.probabilities([self._numbers(document) for document in documents], below)
        return [-np.log(of_document) for of_document in probabilities]

    def spelt_probability(self, words: Sequence[str]) -> np.ndarray:
        """Return the probability that the model of bytes gives each word, its end included: float64."""
        spelt = [_spelt(word) for word in words]
        uniform = [np.full(len(symbols), 1 / 257) for symbols in spelt]
        of_symbols = self.spelling.probabilities(spelt, uniform)
        return np.array([np.prod(probabilities) for probabilities in of_symbols])

    def _numbers(self, document: pa.Array) -> np.ndarray:
        """Return the numbers of a document's words and of its end."""
        places = pc.fill_null(pc.index_in(document, self.vocabulary), UNKNOWN - FIRST)
        return np.append(places.to_numpy(zero_copy_only=False).astype(np.int64) + FIRST, END)


def words_of(text: str) -> list[str]:
    """Return the words of a text: joined, they are the text."""
    return WORDS.findall(text)


def _spelt(word: str) -> np.ndarray:
    return np.append(np.frombuffer(word.encode(), np.uint8).astype(np.int64) + FIRST, END)


def _is_within(sizes: np.ndarray, runs: list[tuple[int, int]]) -> np.ndarray:
    """Return which words, of these sizes, have a byte in a copied run: bool."""
    is_copied = np.zeros(int(sizes.sum()) + 1, np.int64)
    for begin, end in runs:
        is_copied[begin:end] = 1
    copied_before = np.concatenate([[0], np.cumsum(is_copied)])
    ends = np.cumsum(sizes)
    return copied_before[ends] > copied_before[ends - sizes]


def _of(ids: Sequence[str], files: Sequence[Path], columns: list[str]) -> pa.Table:
    """Return the rows of these documents."""
    wanted = pa.array(ids, pa.string())
    tables = []
    for path in files:
        table = read_table(path, columns)
        tables.append(table.filter(pc.is_in(table["id"], wanted)))
    return pa.concat_tables(tables)
