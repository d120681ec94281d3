"""Other people's tokenizers: every id stays, what is missing is added behind, and nothing that a document says becomes a mark."""

import json
import unicodedata
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from privllm.core.errors import UserError
from privllm.tokens.base_tokenizer import BaseTokenizer, complete
from privllm.tokens.encode import Encoder
from privllm.tokens.special_ids import find_special_ids
from tests.foreign import (
    BERT_NAMES,
    NAMES,
    foreign_tokenizer,
    sentencepiece_tokenizer,
    unigram_tokenizer,
    wordpiece_tokenizer,
)

SPELT = ["<s>", "</s>", "<unk>", "<|user|>", "<|endoftext|>", " ", "\n", "report", "café", "▁", "<0x0A>"]
THEIRS = {"byte-level": foreign_tokenizer(), "sentencepiece": sentencepiece_tokenizer()}
LOSSY = {"WordPiece": (wordpiece_tokenizer(), BERT_NAMES), "Unigram": (unigram_tokenizer(), NAMES)}


def completed(text: str, names: dict[str, str] = NAMES, turns: bool = True, mask: bool = True) -> BaseTokenizer:
    return complete(text, names, "mine", ["causal", "masked"] if mask else ["causal"], needs_turns=turns)


def changed(**parts: object) -> str:
    return json.dumps(json.loads(THEIRS["byte-level"]) | parts)


@pytest.mark.parametrize("kind", THEIRS)
def test_a_text_is_the_same_ids_and_comes_back(kind: str) -> None:
    ours, special = Encoder(completed(THEIRS[kind]).tokenizer), {0, 1, 2}
    plain = json.loads(THEIRS[kind])
    plain["added_tokens"] = []
    theirs = Tokenizer.from_str(json.dumps(plain))

    @given(st.lists(st.one_of(st.sampled_from(SPELT), st.text(max_size=8)), max_size=8).map("".join))
    def check(text: str) -> None:
        text = unicodedata.normalize("NFC", text).replace("▁", "_")  # which sentencepiece takes for a space
        (tokens,) = ours.encode([text])
        assert tokens.tolist() == theirs.encode(text, add_special_tokens=False).ids
        assert not special & set(tokens.tolist())
        assert ours.decode(tokens) == text
        assert int(ours.byte_sizes(tokens).sum()) == len(text.encode())

    check()


@pytest.mark.parametrize("kind", THEIRS)
def test_what_is_missing_is_added_behind_and_begins_near_the_end_of_a_text(kind: str) -> None:
    before = Tokenizer.from_str(THEIRS[kind])
    found = completed(THEIRS[kind])
    after = Tokenizer.from_str(found.tokenizer)
    size = before.get_vocab_size()
    assert found.added == dict.fromkeys(range(size, size + 4), before.token_to_id("</s>"))
    assert found.names() == ["<|user|>", "<|assistant|>", "<|end|>", "<|mask|>"]
    assert before.get_vocab().items() < after.get_vocab().items()
    assert completed(found.tokenizer)[1] == {}  # nothing is added twice


def test_one_that_lacks_nothing_stays_byte_for_byte(tokenizer: Path) -> None:
    text = (tokenizer / "tokenizer.json").read_text("utf-8")
    assert completed(text, {}, turns=False) == (text, {})
    assert completed(THEIRS["byte-level"], turns=False, mask=False) == (THEIRS["byte-level"], {})


def test_marks_of_ours_that_are_ordinary_words_are_refused() -> None:
    """A text that spells one would speak for somebody."""
    parts = json.loads(THEIRS["byte-level"])
    parts["added_tokens"].append({**parts["added_tokens"][0], "id": 337, "content": "<|user|>", "special": False})
    parts["model"]["vocab"]["<|user|>"] = 337
    with pytest.raises(UserError, match=r"has <\|user\|> as an ordinary word"):
        completed(json.dumps(parts))


def test_ids_with_gaps_behind_which_nothing_can_be_added_are_refused() -> None:
    parts = json.loads(THEIRS["byte-level"])
    vocabulary = parts["model"]["vocab"]
    parts["model"]["vocab"] = {name: number + 10 * (number >= 300) for name, number in vocabulary.items()}
    with pytest.raises(UserError, match="fill the gaps"):
        completed(json.dumps(parts))
    assert completed(json.dumps(parts), turns=False, mask=False).added == {}


def test_a_sentencepiece_without_bytes_gets_them() -> None:
    parts = json.loads(THEIRS["sentencepiece"])
    vocabulary = parts["model"]["vocab"]
    for byte in range(256):
        del vocabulary[f"<0x{byte:02X}>"]
    found = completed(json.dumps(parts), turns=False, mask=False)
    encoder = Encoder(found.tokenizer)
    assert encoder.decode(encoder.encode(["a\x06数"])[0]) == "a\x06数"
    assert found.added == dict.fromkeys(range(len(vocabulary), len(vocabulary) + 256))


def test_bytes_that_are_listed_as_special_tokens_are_text_all_the_same() -> None:
    parts = json.loads(THEIRS["sentencepiece"])
    number = parts["model"]["vocab"]["<0x06>"]
    parts["added_tokens"].append({**parts["added_tokens"][0], "id": number, "content": "<0x06>"})
    encoder = Encoder(completed(json.dumps(parts)).tokenizer)
    (tokens,) = encoder.encode(["a\x06b <0x06>"])
    assert (encoder.decode(tokens), tokens.tolist().count(number)) == ("a\x06b <0x06>", 1)


def test_bytes_that_it_lacks_are_added() -> None:
    parts = json.loads(THEIRS["byte-level"])
    del parts["model"]["vocab"]["Ć"]  # how byte-level vocabularies write the byte 6
    found = completed(json.dumps(parts), turns=False, mask=False)
    encoder = Encoder(found.tokenizer)
    assert encoder.decode(encoder.encode(["a\x06b"])[0]) == "a\x06b"
    assert found.added == {Tokenizer.from_str(found.tokenizer).token_to_id("Ć"): None}


@pytest.mark.parametrize(
    "parts",
    [
        {"model": {"type": "Unigram", "vocab": [["<s>", 0.0]], "unk_id": 0}},
        {"normalizer": {"type": "Lowercase"}},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}},
    ],
)
def test_what_does_not_give_every_text_back_is_refused(parts: dict) -> None:
    with pytest.raises(UserError, match="mine is neither byte-level BPE nor sentencepiece BPE with byte fallback"):
        completed(changed(**parts))


@pytest.mark.parametrize(
    ("kind", "families", "refused_for"),
    [
        ("WordPiece", ["masked"], ""),
        ("WordPiece", ["seq2seq", "masked"], r"family seq2seq needs: set `families` to \[masked\],"),
        ("Unigram", ["masked", "seq2seq"], ""),
        ("Unigram", ["causal"], r"family causal needs: set `families` to \[masked, seq2seq\],"),
    ],
)
def test_what_changes_a_text_is_taken_where_that_does_not_matter(
    kind: str, families: list[str], refused_for: str
) -> None:
    text, names = LOSSY[kind]
    if refused_for:
        with pytest.raises(UserError, match=f"it is {kind}, .*{refused_for}"):
            complete(text, names, "mine", families, needs_turns=False)
        return
    found = complete(text, names, "mine", families, needs_turns=False)
    has_mask = "mask_token" in names
    assert found.names() == ([] if has_mask else ["<|mask|>"])
    assert found.tokenizer == text or not has_mask


@pytest.mark.parametrize("kind", LOSSY)
def test_bytes_of_a_text_that_is_changed_are_counted_by_places(kind: str) -> None:
    """The tokens share out all bytes of a text, and none is special, whatever the text spells."""
    text, names = LOSSY[kind]
    encoder, special = Encoder(text), find_special_ids(text, names, "mine")
    plain = json.loads(text)
    plain["added_tokens"] = []
    theirs = Tokenizer.from_str(json.dumps(plain))
    spelt = [
        *SPELT,
        *(Tokenizer.from_str(text).id_to_token(number) for number in special.special),
        "NAÏVE",
        "\x07",
        "数",
    ]

    @given(st.lists(st.one_of(st.sampled_from(spelt), st.text(max_size=8)), max_size=8).map("".join))
    def check(document: str) -> None:
        ((tokens, sizes),) = encoder.encode_sized(pa.array([document]))
        assert tokens.tolist() == encoder.encode([document])[0].tolist()
        expected = theirs.encode(document, add_special_tokens=False)
        unknown = [encoder.unknown if token in special.special else token for token in expected.ids]
        assert tokens.tolist() == unknown
        assert not (set(special.special) - {encoder.unknown}) & set(tokens.tolist())
        ends = [0, *(end for _, end in expected.offsets)]
        ends[1:] = [*ends[1:-1], len(document)] if len(tokens) else []
        obvious = [len(document[begin:end].encode()) for begin, end in pairwise(ends)]
        assert sizes.tolist() == obvious

    check()


@pytest.mark.parametrize("kind", ["byte-level", "sentencepiece", "WordPiece", "Unigram"])
def test_a_file_that_does_not_say_its_kind_is_told_it(kind: str) -> None:
    """Those of t5-small, bert-base-uncased and gpt2 were written before it was said."""
    text, names = LOSSY.get(kind) or (THEIRS[kind], NAMES)
    untyped = json.loads(text)
    del untyped["model"]["type"]
    families = ["causal"] if kind in THEIRS else ["masked"]
    found = complete(json.dumps(untyped), names, "mine", families, needs_turns=False)
    expected = complete(text, names, "mine", families, needs_turns=False)
    assert json.loads(found.tokenizer) == json.loads(expected.tokenizer)
    assert found.added == expected.added


def test_without_an_end_of_text_it_is_refused() -> None:
    with pytest.raises(UserError, match="names no token that ends a text"):
        completed(foreign_tokenizer(("<unk>",)), {})


def test_special_tokens_that_a_text_could_spell_are_refused() -> None:
    parts = json.loads(THEIRS["byte-level"])
    parts["added_tokens"].append({**parts["added_tokens"][0], "id": parts["model"]["vocab"]["e"], "content": "e"})
    with pytest.raises(UserError, match="makes special tokens of what a document says"):
        completed(json.dumps(parts))


@pytest.mark.parametrize(("content", "special", "taken"), [("zz", False, True), ("é", False, False), ("é", True, True)])
def test_an_added_word_must_be_plain_letters_unless_it_is_a_mark(content: str, special: bool, taken: bool) -> None:
    """Byte-level text has no such letters, so what is added beside it would not come back."""
    parts = json.loads(THEIRS["byte-level"])
    parts["added_tokens"].append({**parts["added_tokens"][0], "id": 5000, "content": content, "special": special})
    if taken:
        assert completed(json.dumps(parts))
    else:
        with pytest.raises(UserError, match="mine is neither"):
            completed(json.dumps(parts))
