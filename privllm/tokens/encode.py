"""Text to token ids and back, for documents: no text, whatever it contains, becomes a special token.

gigatoken (https://github.com/marcelroed/gigatoken) does the work, some twenty times as fast as HF `tokenizers`, which stays the
meaning: ids are those of `tokenizers` on the same file. The one difference we know of is their Unicode tables, so a text with a
letter or number that only gigatoken's table knows is handed to `tokenizers`; the tests compare both over all of Unicode. So they do for
the split into words that our own tokenizers have; one that came from elsewhere with another split is left to `tokenizers` altogether.

It adds no boundary and cuts nothing: `packing` does. It does not render chats.
"""

import json
import os
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path

import gigatoken
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

# Llama 3's split (Meta 2024), after OpenAI's cl100k_base: digits in groups of three, runs of white space kept whole.
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"

# Letters and numbers that came with Unicode 17 (unicode.org, DerivedAge.txt): gigatoken 0.10.0 knows them,
# the Oniguruma within tokenizers 0.23.3 (Unicode 16) does not, so the two split words differently there.
_NEWER_THAN_TOKENIZERS = (
    "088F 0C5C 0CDC A7CE-A7CF A7D2 A7D4 A7F1 10940-10959 10EC5-10EC7 11DB0-11DDB 11DE0-11DE9 16EA0-16EB8 16EBB-16ED3 16FF2-16FF6 "
    "187F8-187FF 18D09-18D1E 18D80-18DF2 1E6C0-1E6DE 1E6E0-1E6E2 1E6E4-1E6E5 1E6E7-1E6ED 1E6F0-1E6F4 1E6FE-1E6FF 2B73A-2B73F "
    "2CEA2-2CEAD 323B0-33479"
)
_DISPUTED = "[" + "".join("-".join(f"\\x{{{end}}}" for end in span.split("-")) for span in _NEWER_THAN_TOKENIZERS.split()) + "]"


class Encoder:
    """A tokenizer without its special tokens: `<|endoftext|>` in a text is thirteen characters, not a boundary."""

    def __init__(self, tokenizer_json: str) -> None:
        self._json = without_specials(tokenizer_json)
        self._fast = gigatoken.Tokenizer.from_json(self._json) if _is_compared(self._json) else None

    @classmethod
    def open(cls, folder: Path) -> "Encoder":
        """The encoder of the folder that `vocabulary.learn_tokenizer` wrote."""
        return _opened((folder / "tokenizer.json").read_text("utf-8"), os.getpid())

    @cached_property
    def reference(self) -> Tokenizer:
        """HF `tokenizers` on the same file: slow, and right by definition."""
        return Tokenizer.from_str(self._json)

    def encode(self, texts: Sequence[str] | pa.Array | pa.ChunkedArray) -> list[np.ndarray]:
        """The token ids (int32) of each text."""
        column = texts if isinstance(texts, pa.Array | pa.ChunkedArray) else pa.array(texts, pa.string())
        disputed = pc.match_substring_regex(column, _DISPUTED).to_pylist()
        return [self._encode(text, exactly) for text, exactly in zip(column.to_pylist(), disputed, strict=True)]

    def _encode(self, text: str, exactly: bool) -> np.ndarray:
        if exactly or self._fast is None:
            return np.array(self.reference.encode(text, add_special_tokens=False).ids, np.int32)
        return self._fast.encode(text).astype(np.int32)

    def decode(self, tokens: np.ndarray) -> str:
        """The text; ids cut in the middle of a character give U+FFFD."""
        if self._fast is None:
            return self.reference.decode(tokens.tolist(), skip_special_tokens=False)
        return self._fast.decode(tokens.astype(np.uint32)).decode("utf-8", "replace")


@lru_cache(1)
def _opened(tokenizer_json: str, process: int) -> Encoder:
    """Kept, for a large vocabulary takes a second and every shard asks; a forked worker makes its own."""
    return Encoder(tokenizer_json)


def without_specials(tokenizer_json: str) -> str:
    """The same vocabulary and merges for an engine that recognises no special token in a text.

    The placeholders of personal data stay single tokens: they are not special.
    """
    parts = json.loads(tokenizer_json)
    parts["added_tokens"] = [token for token in parts["added_tokens"] if not token["special"]]
    return json.dumps(parts, ensure_ascii=False)


def _is_compared(tokenizer_json: str) -> bool:
    """Does it split into words as our own tokenizers do, and nothing more?"""
    parts = json.loads(tokenizer_json)
    steps = (parts.get("pre_tokenizer") or {}).get("pretokenizers", [])
    plain = not parts.get("normalizer") and not parts["model"].get("ignore_merges")
    return plain and [step.get("pattern") for step in steps] == [{"Regex": WORDS}, None]
