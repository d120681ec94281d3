"""Text to token ids and back, for documents: no text, whatever it contains, becomes a special token.

gigatoken (https://github.com/marcelroed/gigatoken) encodes, some twenty times as fast as HF
`tokenizers`, which remains the reference: ids are those of `tokenizers` on the same file. The only
known difference is their Unicode tables, so a text with a letter or number that only gigatoken's
table has is encoded by `tokenizers`; the tests compare both over all of Unicode, and the split into
words of our own tokenizers. A tokenizer from elsewhere with another split is left to `tokenizers`.

No boundary is added and nothing is cut: see `pack`. Chats are rendered by `chat_format`.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import gigatoken
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

from privllm.core.families import UNIGRAM, WORDPIECE
from privllm.tokens.special_ids import BYTE

# Llama 3's split (Meta 2024), after OpenAI's cl100k_base: digits in groups of three, runs of white space kept whole.
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

SPACE = "\u2581"  # how sentencepiece writes a space
LISTS = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "decoder": "decoders"}  # of a sequence of steps

# Letters and numbers that came with Unicode 17 (unicode.org, DerivedAge.txt): gigatoken 0.10.0 knows them,
# the Oniguruma within tokenizers 0.23.3 (Unicode 16) does not, so the two split words differently there.
_NEWER_THAN_TOKENIZERS = (
    "088F 0C5C 0CDC A7CE-A7CF A7D2 A7D4 A7F1 10940-10959 10EC5-10EC7 11DB0-11DDB 11DE0-11DE9 16EA0-16EB8 16EBB-16ED3 16FF2-16FF6 "
    "187F8-187FF 18D09-18D1E 18D80-18DF2 1E6C0-1E6DE 1E6E0-1E6E2 1E6E4-1E6E5 1E6E7-1E6ED 1E6F0-1E6F4 1E6FE-1E6FF 2B73A-2B73F "
    "2CEA2-2CEAD 323B0-33479"
)


def _character_class(ranges: str) -> str:
    """Return the RE2 class of ranges of code points like "10940-10959"."""
    escaped = re.sub("[0-9A-F]+", lambda code_point: f"\\x{{{code_point[0]}}}", ranges)
    return f"[{escaped.replace(' ', '')}]"


_DISPUTED = _character_class(_NEWER_THAN_TOKENIZERS)


class Encoder:
    """Tokenizer without its special tokens: `<|endoftext|>` in a text is thirteen characters, not a boundary."""

    def __init__(self, tokenizer_json: str) -> None:
        self._json = without_specials(tokenizer_json)
        definition = json.loads(tokenizer_json)
        self.is_lossy = is_lossy(definition)  # whether it changes a text, by small letters or one blank for several
        self._spelt = spelt_specials(definition)
        self.unknown = self._spelt.unknown
        self._fast = gigatoken.Tokenizer.from_json(self._json) if _is_compared(self._json) else None

    @classmethod
    def open(cls, folder: Path) -> "Encoder":
        """Return the encoder of the folder that `vocabulary.learn_tokenizer` wrote."""
        return _opened((folder / "tokenizer.json").read_text("utf-8"), os.getpid())

    @cached_property
    def reference(self) -> Tokenizer:
        """Return HF `tokenizers` on the same file: slow, and right by definition."""
        return Tokenizer.from_str(self._json)

    def encode_sized(self, texts: pa.Array | pa.ChunkedArray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield of each whole document its token ids (int32), and how many of its UTF-8 bytes each token stands for (int64)."""
        if not self.is_lossy:
            for tokens in self.encode(texts):
                yield tokens, self.byte_sizes(tokens)
            return
        for text in texts.to_pylist():
            encoding = self.reference.encode(text, add_special_tokens=False)
            tokens = np.array(self._spelt.replaced_in(encoding.ids), np.int32)
            yield tokens, _bytes_of_offsets(text, encoding.offsets)

    def encode(self, texts: Sequence[str] | pa.Array | pa.ChunkedArray) -> list[np.ndarray]:
        """Return the token ids (int32) of each text."""
        column = texts
        if not isinstance(column, pa.Array | pa.ChunkedArray):
            column = pa.array(column, pa.string())
        disputed = pc.match_substring_regex(column, _DISPUTED).to_pylist()
        encoded = []
        for text, is_disputed in zip(column.to_pylist(), disputed, strict=True):
            encoded.append(self._encode(text, is_disputed))
        return encoded

    def _encode(self, text: str, is_disputed: bool) -> np.ndarray:
        if is_disputed or self._fast is None:
            ids = self.reference.encode(text, add_special_tokens=False).ids
            return np.array(self._spelt.replaced_in(ids), np.int32)
        return self._fast.encode(text).astype(np.int32)

    def byte_sizes(self, tokens: np.ndarray) -> np.ndarray:
        """Return how many UTF-8 bytes of the text each token of a whole document is: int64 [tokens]. Not of a lossy vocabulary."""
        assert not self.is_lossy, "such a token says not how long its text was"
        sizes = self._sizes[tokens]
        if self._puts_space_in_front and len(sizes):
            sizes[0] -= 1  # which is no part of the text
        return sizes

    @cached_property
    def _sizes(self) -> np.ndarray:
        """Return the bytes of each id: int64 [ids]."""
        vocabulary = self.reference.get_vocab()
        size_of = _byte_level_size if self._is_byte_level else _metaspace_size
        sizes = np.zeros(max(vocabulary.values()) + 1, np.int64)
        for name, index in vocabulary.items():
            sizes[index] = size_of(name)
        return sizes

    @cached_property
    def _is_byte_level(self) -> bool:
        return is_byte_level(json.loads(self._json))

    @cached_property
    def _puts_space_in_front(self) -> bool:
        return puts_space_in_front(json.loads(self._json))

    def decode(self, tokens: np.ndarray) -> str:
        """Return the text of the tokens; ids cut in the middle of a character give U+FFFD."""
        if self._fast is None:
            return self.reference.decode(tokens.tolist(), skip_special_tokens=False)
        return self._fast.decode(tokens.astype(np.uint32)).decode("utf-8", "replace")


def is_byte_level(definition: Mapping[str, Any]) -> bool:
    """Return whether the tokens of a tokenizer.json, which is parsed, are named by their bytes."""
    return any(step["type"] == "ByteLevel" for step in steps_of(definition, "decoder"))


def is_lossy(definition: Mapping[str, Any]) -> bool:
    """Return whether a tokenizer.json, which is parsed, is of a kind that does not give every text back."""
    return definition["model"].get("type") in (WORDPIECE, UNIGRAM)


def unknown_id(definition: Mapping[str, Any]) -> int | None:
    """Return the id that a lossy vocabulary gives to what it has no piece of; None where it names none."""
    model = definition["model"]
    if model["type"] == UNIGRAM:
        return model.get("unk_id")
    return model["vocab"].get(model.get("unk_token"))


class SpeltSpecials(NamedTuple):
    """Special tokens that a text might spell, since a lossy vocabulary lists "</s>" among its pieces; others have none."""

    unknown: int | None  # token for what a lossy vocabulary has no piece of
    special: frozenset[int]

    def replaced_in(self, ids: list[int]) -> list[int]:
        """Return the ids of a text with the unknown token in the place of special ones."""
        if self.unknown is None:
            return ids
        return [self.unknown if token in self.special else token for token in ids]


def spelt_specials(definition: Mapping[str, Any]) -> SpeltSpecials:
    """Return the special tokens that a text might spell in the vocabulary of a tokenizer.json, which is parsed."""
    if not is_lossy(definition):
        return SpeltSpecials(None, frozenset())
    unknown = unknown_id(definition)
    special = {token["id"] for token in definition.get("added_tokens", []) if token["special"]}
    return SpeltSpecials(unknown, frozenset(special - {unknown}))


def with_type(tokenizer_json: str) -> str:
    """Return a tokenizer.json that says of what kind its vocabulary is, as files from before 2021 (t5-small, bert-base-uncased) do not."""
    definition = json.loads(tokenizer_json)
    model = definition.get("model", {})
    if "type" in model or not model:
        return tokenizer_json
    kind = json.loads(Tokenizer.from_str(tokenizer_json).to_str())["model"]["type"]
    definition["model"] = {"type": kind, **model}
    return json.dumps(definition, indent=1, ensure_ascii=False) + "\n"


def _bytes_of_offsets(text: str, offsets: list[tuple[int, int]]) -> np.ndarray:
    """Return how many bytes of the text lie between the end of each token's characters and that of the token before: int64 [tokens].

    What no token stands for counts to the one behind it, at the end of the text to the last one.
    """
    if not offsets:
        return np.zeros(0, np.int64)
    ends = np.array([end for _, end in offsets])
    ends[-1] = len(text)
    bytes_before = np.array([0, *accumulate(len(character.encode()) for character in text)])
    return np.diff(bytes_before[np.maximum.accumulate(ends)], prepend=0)


def steps_of(definition: Mapping[str, Any], part: str) -> list[dict[str, Any]]:
    """Return the steps of a part of a tokenizer.json, which is parsed: "normalizer", "pre_tokenizer" or "decoder"."""
    step = definition.get(part)
    if step is None:
        return []
    return step[LISTS[part]] if step["type"] == "Sequence" else [step]


def puts_space_in_front(definition: Mapping[str, Any]) -> bool:
    """Return whether a text is encoded as if a space stood before it, as sentencepiece does."""
    for step in (*steps_of(definition, "normalizer"), *steps_of(definition, "pre_tokenizer")):
        if step["type"] == "Prepend" and step["prepend"] == SPACE:
            return True
        if step["type"] == "Metaspace" and step.get("prepend_scheme", "always") != "never":
            return True
    return False


def _byte_level_size(name: str) -> int:
    """Return the bytes of a token of which every character stands for one."""
    return len(name)


def _metaspace_size(name: str) -> int:
    """Return the bytes of a token as sentencepiece names it: "\u2581" for a space, "<0x0A>" for one byte."""
    return 1 if BYTE.fullmatch(name) else len(name.replace(SPACE, " ").encode())


@lru_cache(1)
def _opened(tokenizer_json: str, process: int) -> Encoder:
    """Return a cached encoder, since loading a large vocabulary takes a second; a forked worker makes its own."""
    return Encoder(tokenizer_json)


def without_specials(tokenizer_json: str) -> str:
    """Return the tokenizer.json without special tokens, which then are not recognised in a text, and without truncation and padding.

    The placeholders of personal data stay single tokens: they are not special. Files of sentence-transformers cut and fill up every text
    to 128 tokens or so, which is no part of a vocabulary.
    """
    definition = json.loads(tokenizer_json)
    definition["added_tokens"] = [token for token in definition.get("added_tokens", []) if not token["special"]]
    definition |= {"truncation": None, "padding": None}
    return json.dumps(definition, ensure_ascii=False)


def _is_compared(tokenizer_json: str) -> bool:
    """Return whether texts are split into words as by our own tokenizers, which the tests compare."""
    definition = json.loads(tokenizer_json)
    if definition.get("normalizer") or definition["model"].get("ignore_merges"):
        return False
    steps = (definition.get("pre_tokenizer") or {}).get("pretokenizers", [])
    return [step.get("pattern") for step in steps] == [{"Regex": WORDS}, None]
