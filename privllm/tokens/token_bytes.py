"""What text each token of a vocabulary stands for, in bytes of UTF-8, whichever way the vocabulary writes it.

byte-level BPE    Ġvalve       b" valve"      each character stands for a byte
sentencepiece     ▁valve       b" valve"      and <0x0A> for the byte 10
WordPiece         valve        b" valve"      a word; ##s, b"s", goes on with one
"""

import json
from collections.abc import Mapping
from functools import lru_cache

from tokenizers import Tokenizer

from privllm.core.families import WORDPIECE
from privllm.tokens.encode import SPACE, is_byte_level
from privllm.tokens.special_ids import BYTE


def token_bytes(tokenizer_json: str) -> dict[int, bytes]:
    """Return {id: bytes} of a tokenizer.json; of a special token it is whatever its name would be as text."""
    definition = json.loads(tokenizer_json)
    vocabulary = Tokenizer.from_str(tokenizer_json).get_vocab()
    if is_byte_level(definition):
        return byte_level(vocabulary)
    if definition["model"]["type"] == WORDPIECE:
        prefix = definition["model"]["continuing_subword_prefix"]
        return {number: _wordpiece(name, prefix) for name, number in vocabulary.items()}
    return {number: _sentencepiece(name) for name, number in vocabulary.items()}


def byte_level(vocabulary: Mapping[str, int]) -> dict[int, bytes]:
    """Return {id: bytes} of a byte-level vocabulary, {name: id}."""
    byte_of = _bytes_of_characters()
    spelling = {}
    for name, number in vocabulary.items():
        spelling[number] = b"".join(byte_of.get(character) or character.encode() for character in name)
    return spelling


def _wordpiece(name: str, prefix: str) -> bytes:
    return name.removeprefix(prefix).encode() if name.startswith(prefix) else f" {name}".encode()


def _sentencepiece(name: str) -> bytes:
    return bytes([int(name[3:5], 16)]) if BYTE.fullmatch(name) else name.replace(SPACE, " ").encode()


@lru_cache(1)
def _bytes_of_characters() -> dict[str, bytes]:
    """Return the byte that each character of a byte-level token's name stands for (Radford et al. 2019, GPT-2).

    Printable characters of Latin-1 stand for themselves, the others for the code points from 256 on, in order.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    byte_of = {chr(byte): bytes([byte]) for byte in printable}
    others = [byte for byte in range(256) if byte not in printable]
    for number, byte in enumerate(others):
        byte_of[chr(256 + number)] = bytes([byte])
    return byte_of
