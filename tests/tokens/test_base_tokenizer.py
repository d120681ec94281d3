"""Other people's tokenizers: the same tokens under other numbers, and nothing that a document says becomes a mark."""

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from privllm.core.errors import UserError
from privllm.core.special_tokens import END_OF_TEXT, MASK, PAD, SPECIAL_TOKENS
from privllm.tokens.base_tokenizer import arrange
from privllm.tokens.encode import Encoder
from tests.foreign import NAMES, foreign_tokenizer

SPELT = ["<s>", "</s>", "<unk>", "<|user|>", "<|endoftext|>", " ", "\n", "report", "café"]
THEIRS = foreign_tokenizer()
OURS = arrange(THEIRS, NAMES, "theirs")


def changed(**parts: object) -> str:
    return json.dumps(json.loads(THEIRS) | parts)


@given(st.lists(st.one_of(st.sampled_from(SPELT), st.text(max_size=8)), max_size=8).map("".join))
def test_a_text_is_the_same_tokens_under_other_numbers(text: str) -> None:
    encoder = Encoder(OURS.tokenizer)
    (tokens,) = encoder.encode([text])
    assert encoder.decode(tokens) == text  # theirs gives back its NFC
    (tokens,) = encoder.encode([text := unicodedata.normalize("NFC", text)])
    plain = json.loads(THEIRS)
    plain["added_tokens"] = []
    theirs = Tokenizer.from_str(json.dumps(plain)).encode(text, add_special_tokens=False).ids
    assert [OURS.moved.get(token, token) for token in tokens.tolist()] == theirs
    assert not set(tokens.tolist()) & set(range(len(SPECIAL_TOKENS)))


def test_its_marks_become_ours_and_what_had_their_place_moves_behind() -> None:
    loaded, before = Tokenizer.from_str(OURS.tokenizer), Tokenizer.from_str(THEIRS)
    assert [loaded.id_to_token(number) for number in range(len(SPECIAL_TOKENS))] == list(SPECIAL_TOKENS)
    assert OURS.moved[END_OF_TEXT] == before.token_to_id("</s>") == 1
    assert {number: OURS.moved[number] for number in (PAD, MASK, 3, 4, 5)} == dict.fromkeys((PAD, MASK, 3, 4, 5))
    assert OURS.moved[loaded.token_to_id("<s>")] == 0
    assert sorted(loaded.get_vocab().values()) == list(range(loaded.get_vocab_size()))
    base_ids = {
        name: OURS.moved.get(number, number)
        for name, number in loaded.get_vocab().items()
        if name not in SPECIAL_TOKENS
    }
    assert base_ids == {name: number for name, number in before.get_vocab().items() if name != "</s>"}
    assert json.loads(OURS.tokenizer)["post_processor"] is None


def test_all_the_marks_it_has_are_taken_over() -> None:
    specials = ("[CLS]", "[SEP]", "[PAD]", "[MASK]")
    text = foreign_tokenizer(specials)
    arranged = arrange(text, {}, "bert")
    before = Tokenizer.from_str(text)
    assert [arranged.moved[number] for number in (END_OF_TEXT, PAD, MASK)] == [
        before.token_to_id(name) for name in specials[1:]
    ]
    # An instruction-tuned model's eos ends a turn and pads; its documents end otherwise.
    text = foreign_tokenizer(("<|im_end|>", "<|endoftext|>"))
    chat = arrange(text, {"eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}, "chat")
    assert (chat.moved[END_OF_TEXT], chat.moved[PAD]) == (1, None)
    assert Tokenizer.from_str(chat.tokenizer).token_to_id("<|im_end|>") >= len(SPECIAL_TOKENS)


def test_sentinels_are_told_apart_from_the_text_and_keep_their_numbers() -> None:
    text = foreign_tokenizer(("</s>", "<extra_id_1>", "<extra_id_0>"))
    arranged = arrange(text, {}, "t5")
    loaded = Tokenizer.from_str(arranged.tokenizer)
    size = 1 + max(loaded.get_vocab().values())
    assert loaded.token_to_id("<extra_id_0>") is None
    assert (arranged.moved[size], arranged.moved[size + 1]) == (2, 1)


def test_ours_comes_back_as_it_is(tokenizer: Path) -> None:
    text = (tokenizer / "tokenizer.json").read_text("utf-8")
    assert arrange(text, {}, "ours") == (text, {})
    assert arrange(OURS.tokenizer, {}, "again") == (OURS.tokenizer, {})


def test_bytes_that_it_lacks_are_added() -> None:
    parts = json.loads(THEIRS)
    del parts["model"]["vocab"]["Ć"]  # how byte-level vocabularies write the byte 6
    arranged = arrange(json.dumps(parts), NAMES, "theirs")
    assert Encoder(arranged.tokenizer).decode(Encoder(arranged.tokenizer).encode(["a\x06b"])[0]) == "a\x06b"
    assert arranged.moved[Tokenizer.from_str(arranged.tokenizer).token_to_id("Ć")] is None


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
    with pytest.raises(UserError, match="mine is no byte-level BPE"):
        arrange(changed(**parts), NAMES, "mine")


def test_without_an_end_of_text_it_is_refused() -> None:
    with pytest.raises(UserError, match="names no token that ends a text"):
        arrange(foreign_tokenizer(("<unk>",)), {}, "mine")


def test_special_tokens_that_a_text_could_spell_are_refused() -> None:
    parts = json.loads(THEIRS)
    parts["added_tokens"].append({**parts["added_tokens"][0], "id": parts["model"]["vocab"]["e"], "content": "e"})
    with pytest.raises(UserError, match="makes special tokens of what a document says"):
        arrange(json.dumps(parts), NAMES, "mine")


@pytest.mark.parametrize(("content", "special", "taken"), [("zz", False, True), ("é", False, False), ("é", True, True)])
def test_an_added_word_must_be_plain_letters_unless_it_is_a_mark(content: str, special: bool, taken: bool) -> None:
    """Byte-level text has no such letters, so what is added beside it would not come back."""
    parts = json.loads(THEIRS)
    parts["added_tokens"].append({**parts["added_tokens"][0], "id": 5000, "content": content, "special": special})
    if taken:
        assert arrange(json.dumps(parts), NAMES, "mine")
    else:
        with pytest.raises(UserError, match="mine is no byte-level BPE"):
            arrange(json.dumps(parts), NAMES, "mine")
