"""What special tokens are for, in vocabularies of many kinds."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from privllm.core.errors import UserError
from privllm.core.special_tokens import own_ids
from privllm.models.seq2seq import with_sentinels
from privllm.tokens.special_ids import find_special_ids, read_tokenizer, special_ids
from tests.foreign import NAMES, foreign_tokenizer, roberta_tokenizer


def test_our_own_vocabulary_has_the_ids_that_code_without_a_tokenizer_expects(tokenizer: Path) -> None:
    size = Tokenizer.from_file(str(tokenizer / "tokenizer.json")).get_vocab_size()
    assert special_ids(tokenizer) == own_ids(size)


def test_a_mark_put_before_every_text_begins_a_document() -> None:
    found = find_special_ids(foreign_tokenizer(), NAMES, "llama")
    assert (found.begin, found.end, found.pad, found.mask, found.special) == (0, 1, 1, None, (0, 1, 2))


def test_of_an_instruct_model_the_end_of_a_turn_ends_no_document() -> None:
    text = foreign_tokenizer(("<|im_end|>", "<|endoftext|>", "<|im_start|>"), before_text=False)
    found = find_special_ids(text, {"eos_token": "<|im_end|>", "pad_token": "<|im_end|>"}, "chat")
    assert (found.begin, found.end, found.pad) == (1, 1, 0)


def test_berts_marks_are_found_by_name() -> None:
    text = foreign_tokenizer(("[CLS]", "[SEP]", "[PAD]", "[MASK]"))
    found = find_special_ids(text, {}, "bert")
    assert (found.begin, found.end, found.pad, found.mask) == (0, 1, 2, 3)


def test_an_ordinary_word_fills_no_row() -> None:
    """Some bases name "!" as their padding; a reply must not end there."""
    text = foreign_tokenizer(("</s>", "<s>"), before_text=False)
    assert "e" in Tokenizer.from_str(text).get_vocab()
    assert find_special_ids(text, {"eos_token": "</s>", "pad_token": "e"}, "word").pad == 0
    assert find_special_ids(text, {"eos_token": "</s>", "pad_token": "<s>"}, "mark").pad == 1


def test_sentinels_of_its_own_go_before_those_behind_the_last_id() -> None:
    text = foreign_tokenizer(("</s>", "<extra_id_1>", "<extra_id_0>"))
    found = find_special_ids(text, {}, "t5")
    assert found.sentinels[:3] == (2, 1, found.size)
    assert len(found.sentinels) == len(set(found.sentinels)) == 100
    ours = find_special_ids(with_sentinels(foreign_tokenizer(("</s>",))), {}, "ours")
    assert ours.sentinels == tuple(range(ours.size - 100, ours.size))


def test_names_come_from_both_files_of_settings(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(foreign_tokenizer(("<a>", "<b>")), "utf-8")
    with pytest.raises(UserError, match="names no token that ends a text"):
        special_ids(tmp_path)
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"eos_token": "<a>"}), "utf-8")
    assert special_ids(tmp_path).end == 0
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<b>"}, "x": 1}), "utf-8")
    assert special_ids(tmp_path).end == 1


@pytest.mark.parametrize("content", ["null", "{", "[]", "\xff"])
def test_settings_that_are_no_object_are_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(foreign_tokenizer(), "utf-8")
    (tmp_path / "tokenizer_config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"tokenizer_config\.json (is not valid JSON|should hold a JSON object)"):
        special_ids(tmp_path)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc repro tokenizer"):
        special_ids(tmp_path)


def test_a_mark_of_others_that_is_an_ordinary_word_ends_no_text() -> None:
    """RoBERTa took GPT-2's words over, its mark among them, and never used it."""
    parts = json.loads(roberta_tokenizer())
    parts["model"]["vocab"]["<|endoftext|>"] = 340
    names = {"bos_token": "<s>", "eos_token": "</s>"}
    assert find_special_ids(json.dumps(parts), names, "roberta").end == 2
    assert find_special_ids(json.dumps(parts), {}, "roberta").end == 2


def test_a_length_that_the_file_names_is_no_part_of_its_marks() -> None:
    """Files of sentence-transformers fill up every text, here from the left, and cut it."""
    definition = json.loads(foreign_tokenizer())
    expected = find_special_ids(json.dumps(definition), NAMES, "plain")
    definition["padding"] = {
        "strategy": {"Fixed": 8}, "direction": "Left", "pad_to_multiple_of": None, "pad_id": 2, "pad_type_id": 0, "pad_token": "<pad>"
    }  # fmt: skip
    definition["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    text = json.dumps(definition)
    assert find_special_ids(text, NAMES, "padded") == expected
    assert len(read_tokenizer(text).encode("the committee met on Tuesday").ids) > 4
