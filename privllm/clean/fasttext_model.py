"""A fastText classifier that was quantised (`.ftz`), read and applied with NumPy; nothing is trained here.

    >>> Classifier(path.read_bytes()).predict("Der Hund schläft im Schatten.")
    ('__label__de', 0.98)

A text's words, and the runs of `minn` to `maxn` characters of each word in angle brackets ("<der>"), are rows of a matrix.
Their mean is a hidden vector, and the labels are leaves of a binary tree with a logistic decision at each inner node.
Every sum is taken in single precision in the order in which fastText takes it, so the scores are fastText's.

Only what lid.176.ftz is made of is read: format 12, hierarchical softmax, a quantised input matrix, no word n-grams.
Joulin et al. 2016, FastText.zip: compressing text classification models; Bojanowski et al. 2017 for the runs of characters.
"""

import struct
from itertools import chain

import numpy as np
from numpy.typing import NDArray

MAGIC, VERSION = 793712314, 12
HIERARCHICAL_SOFTMAX, SUPERVISED = 1, 3
CENTROIDS = 256  # of each part of a quantised vector
MAX_REMEMBERED_WORDS = 50_000  # words whose rows are remembered, about 15 MB; then they are forgotten
END = "</s>"  # the word that ends a text
LABEL = "__label__"  # with which a label's name, and no word, begins
SPACES = "\0\t\n\v\f\r"  # what separates words for fastText, beside the space
FNV_OFFSET, FNV_PRIME = np.uint32(2166136261), np.uint32(16777619)  # hash FNV-1a of 32 bits
Float = NDArray[np.float32]


class Reader:
    """A file's bytes and the place where the next value is read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def values(self, form: str) -> tuple:
        """Return the next values, little-endian, as `struct` writes `form`."""
        values = struct.unpack_from(f"<{form}", self.data, self.place)
        self.place += struct.calcsize(f"<{form}")
        return values

    def array(self, dtype: str, count: int) -> NDArray:
        array = np.frombuffer(self.data, dtype, count, self.place)
        self.place += array.nbytes
        return array

    def name(self) -> str:
        """Return the text up to the next zero byte."""
        end = self.data.index(0, self.place)
        text = self.data[self.place : end].decode()
        self.place = end + 1
        return text


class Classifier:
    """The model in one file."""

    def __init__(self, data: bytes) -> None:
        """Read the file's bytes. Raises ValueError for a file that is no such model."""
        reader = Reader(data)
        if reader.values("ii") != (MAGIC, VERSION):
            raise ValueError("it is no fastText model of format 12")
        width, *_, word_ngrams, loss, kind, bucket, minn, maxn, _ = reader.values("12i")
        reader.values("d")
        if (word_ngrams, loss, kind) != (1, HIERARCHICAL_SOFTMAX, SUPERVISED):
            raise ValueError("it is no classifier with hierarchical softmax and without word n-grams")
        if minn < 2:
            raise ValueError("its runs of characters have fewer than two characters")
        self.bucket, self.minn, self.maxn = bucket, minn, maxn
        _, words, labels, _, pruned = reader.values("iiiqq")
        self.words: dict[str, int] = {}
        self.labels: list[str] = []
        counts = []
        for index in range(words + labels):
            name = reader.name()
            count, is_label = reader.values("qb")
            if is_label:
                self.labels.append(name)
                counts.append(count)
            else:
                self.words[name] = index
        if pruned < 0:
            raise ValueError("its runs of characters were not pruned")
        pairs = reader.array("<i4", 2 * pruned).reshape(-1, 2)
        self.rows = np.full(bucket, -1, np.int32)  # of the input matrix by hash; -1: not kept
        self.rows[pairs[:, 0]] = words + pairs[:, 1]
        if reader.values("?") != (True,):
            raise ValueError("its input matrix is not quantised")
        self.input = _quantised_matrix(reader, width)
        if reader.values("?") != (False,):
            raise ValueError("its output matrix is quantised")
        height, width = reader.values("qq")
        self.output = reader.array("<f4", height * width).reshape(height, width)[: labels - 1].T.copy()
        self.paths = _paths(counts)
        self.rows_of_word: dict[str, list[int]] = {}  # of words that were met before; it changes no result

    def predict(self, text: str) -> tuple[str, float]:
        """Return the likeliest label of a text and its probability, as fastText rounds it; ("", 0.0) without any words."""
        return self.predict_each([text])[0]

    def predict_each(self, texts: list[str]) -> list[tuple[str, float]]:
        """Return `predict` of each text. One call for several texts takes less time than one for each."""
        rows_of_texts = [self._rows_of(words) for words in self._words_of_each(texts)]
        places = [place for place, rows in enumerate(rows_of_texts) if rows]
        predictions = [("", 0.0)] * len(texts)
        if not places:
            return predictions
        hidden = np.stack([self._hidden(rows_of_texts[place]) for place in places])
        # sums over the hidden vector's numbers, one after the other: (texts, numbers, inner nodes)
        dots = np.add.reduce(self.output * hidden[:, :, None], axis=1)
        right = (1.0 / (1.0 + _rounded(np.exp(-dots.astype(np.float64))))).astype(np.float32)
        beyond_leaves = np.zeros((len(places), 1), np.float32)
        logarithms = np.concatenate([_log(np.float32(1) - right), _log(right), beyond_leaves], axis=1)
        scores = np.add.reduce(logarithms[:, self.paths], axis=1)
        for place, label, score in zip(places, scores.argmax(axis=1).tolist(), scores.max(axis=1), strict=True):
            predictions[place] = self.labels[label], float(np.float32(np.exp(np.float64(score))))
        return predictions

    def _hidden(self, rows: list[int]) -> Float:
        """Return the mean of some rows of the input matrix."""
        return np.add.reduce(self.input[rows], axis=0) * np.float32(1.0 / len(rows))

    def _words_of_each(self, texts: list[str]) -> list[list[str]]:
        """Return the words of each text, and learn the rows of those that are new."""
        words_of_texts = [_words_of(text) for text in texts]
        words = set(chain.from_iterable(words_of_texts))
        new_words = words.difference(self.rows_of_word)
        if len(self.rows_of_word) + len(new_words) > MAX_REMEMBERED_WORDS:
            self.rows_of_word.clear()
            new_words = words
        if new_words:
            self.rows_of_word |= self._rows_of_words(list(new_words))
        return words_of_texts

    def _rows_of(self, words: list[str]) -> list[int]:
        """Return the rows of the input matrix that stand for a text of known words, word by word."""
        rows = list(chain.from_iterable(map(self.rows_of_word.__getitem__, words)))
        if END in self.words:
            rows.append(self.words[END])
        return rows

    def _rows_of_words(self, words: list[str]) -> dict[str, list[int]]:
        """Return for each word its own row and those of its runs of characters, where the model has kept them."""
        lengths = np.array([len(word) + 2 for word in words])
        ends = np.cumsum(lengths)
        left = np.repeat(ends, lengths) - np.arange(ends[-1])  # characters from each to its word's end
        word_rows = np.full(len(left), -1, np.int32)
        word_rows[ends - lengths] = [self.words.get(word, -1) for word in words]
        columns = [word_rows]
        for length, hashes in self._hashes("<" + "><".join(words) + ">"):
            columns.append(np.where(left >= length, self.rows[hashes % np.uint32(self.bucket)], -1))
        candidates = np.stack(columns, axis=1).ravel()
        present = np.flatnonzero(candidates >= 0)
        rows = candidates[present].tolist()
        bounds = np.searchsorted(present, ends * len(columns)).tolist()
        return {word: rows[start:end] for word, start, end in zip(words, [0, *bounds], bounds, strict=False)}

    def _hashes(self, text: str) -> list[tuple[int, NDArray[np.uint32]]]:
        """Return each length from `minn` to `maxn`, with the hashes of the runs of that length that begin at each character.

        Near the end of `text` they are of shorter runs.
        """
        octets = text.encode()
        signed = np.frombuffer(octets, np.int8).astype(np.uint32)  # fastText hashes signed bytes
        firsts = np.flatnonzero((signed & 0xC0) != 0x80)
        bounds = np.concatenate([firsts, np.full(self.maxn, len(octets))])
        count = len(firsts)
        sizes = {length: bounds[length : length + count] - firsts for length in range(self.minn, self.maxn + 1)}
        prefixes = np.empty(
            (int(sizes[self.maxn].max()), count), np.uint32
        )  # hashes of 1, 2, ... bytes from each character
        hashes = np.full(count, FNV_OFFSET, np.uint32)
        for index, prefix in enumerate(prefixes):
            hashes = (hashes ^ signed.take(firsts + index, mode="clip")) * FNV_PRIME
            prefix[:] = hashes
        places = np.arange(count)
        return [(length, prefixes[in_bytes - 1, places]) for length, in_bytes in sizes.items()]


def _words_of(text: str) -> list[str]:
    """Return what fastText takes for the words of a text."""
    for space in SPACES:
        text = text.replace(space, " ")
    words = list(filter(None, text.split(" ")))
    if LABEL in text:
        words = [word for word in words if not word.startswith(LABEL)]
    if END in text and END in words:
        words = words[: words.index(END)]
    return words


def _quantised_matrix(reader: Reader, width: int) -> Float:
    """Return the matrix that product quantisation was applied to, (rows, width): each row a norm times its centroids."""
    (has_norms,) = reader.values("?")
    height, columns, size = reader.values("qqi")
    if columns != width:
        raise ValueError("its input matrix has not the width of its vectors")
    codes = reader.array("u1", size).reshape(height, -1)
    centroids = _centroids(reader)
    rows = np.concatenate([centroids[part][codes[:, part]] for part in range(codes.shape[1])], axis=1)
    if not has_norms:
        return rows
    norm_codes = reader.array("u1", height)
    (norms,) = _centroids(reader)
    return norms[norm_codes] * rows


def _centroids(reader: Reader) -> list[Float]:
    """Return the centroids of each part of a vector, (256, width of the part)."""
    width, parts, part_width, last_width = reader.values("4i")
    numbers = reader.array("<f4", width * CENTROIDS)
    centroids = []
    for part in range(parts):
        of_part = last_width if part == parts - 1 else part_width
        start = part * CENTROIDS * part_width
        centroids.append(numbers[start : start + CENTROIDS * of_part].reshape(CENTROIDS, of_part))
    return centroids


def _paths(counts: list[int]) -> NDArray[np.int64]:
    """Return the way from the root to each label in the Huffman tree of the labels' counts, (deepest, L).

    With L labels there are L - 1 inner nodes. A step to the left of node i is i, one to the right L - 1 + i, and behind
    a way's end stands 2 (L - 1). The counts fall.
    """
    inner = len(counts) - 1
    weights = [*counts, *[10**15] * inner]
    parents, is_right = [-1] * len(weights), [False] * len(weights)
    leaf, node = len(counts) - 1, len(counts)  # the lightest leaf and the lightest inner node that have no parent
    for made in range(len(counts), len(weights)):
        lightest = []
        for _ in range(2):
            if leaf >= 0 and weights[leaf] < weights[node]:
                lightest.append(leaf)
                leaf -= 1
            else:
                lightest.append(node)
                node += 1
        weights[made] = sum(weights[child] for child in lightest)
        for child, right in zip(lightest, (False, True), strict=True):
            parents[child], is_right[child] = made, right
    ways = []
    for label in range(len(counts)):
        way, child = [], label
        while parents[child] >= 0:
            way.append(parents[child] - len(counts) + inner * is_right[child])
            child = parents[child]
        ways.append(way[::-1])
    deepest = max(map(len, ways))
    return np.array([way + [2 * inner] * (deepest - len(way)) for way in ways]).T.copy()


def _log(values: Float) -> Float:
    """Return the logarithms as fastText takes them, of a little more than each value."""
    return np.log(values + 1e-5, dtype=np.float64).astype(np.float32)


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values in single precision, as doubles; those that are too large for it are infinite."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32).astype(np.float64)
