"""Names of tokens in each kind of vocabulary, as the text that they stand for."""

import json

import pytest

from privllm.tokens.encode import Encoder
from privllm.tokens.token_bytes import token_bytes
from tests.foreign import foreign_tokenizer, sentencepiece_tokenizer, unigram_tokenizer, wordpiece_tokenizer

SPELT = {
    "byte-level": (foreign_tokenizer(), "The naïve committee\n agreed"),
    "sentencepiece": (sentencepiece_tokenizer(), " The naïve committee\n agreed"),
    "WordPiece": (wordpiece_tokenizer(), " the naive committee agreed"),
    "Unigram": (unigram_tokenizer(), " The naïve committee agreed"),
}


@pytest.mark.parametrize("kind", SPELT)
def test_the_tokens_of_a_text_spell_it(kind: str) -> None:
    tokenizer, expected = SPELT[kind]
    (tokens,) = Encoder(tokenizer).encode(["The naïve committee\n agreed"])
    spelling = token_bytes(tokenizer)
    assert b"".join(spelling[token] for token in tokens.tolist()).decode() == expected


def test_every_id_is_spelt() -> None:
    for tokenizer, _ in SPELT.values():
        assert len(token_bytes(tokenizer)) >= len(json.loads(tokenizer)["model"]["vocab"])
