"""A folder is read by transformers as by its tokenizer.json, or refused with the remedy."""

import json
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.export.stock_tokenizer import CHECKED_TEXT, read_as_stock
from privllm.tokens.encode import Encoder
from tests.foreign import BERT_NAMES, wordpiece_tokenizer


def folder_with(place: Path, settings: dict) -> list[int]:
    """Write a tokenizer with these settings, and return the ids that its tokenizer.json gives."""
    (place / "tokenizer.json").write_text(wordpiece_tokenizer(), "utf-8")
    (place / "tokenizer_config.json").write_text(json.dumps(BERT_NAMES | settings), "utf-8")
    return Encoder.open(place).encode([CHECKED_TEXT])[0].tolist()


def test_equal_ids_are_taken(tmp_path: Path) -> None:
    expected = folder_with(tmp_path, {})
    assert read_as_stock(tmp_path, expected, "")(CHECKED_TEXT, add_special_tokens=False)["input_ids"] == expected


def test_other_ids_are_refused(tmp_path: Path) -> None:
    expected = folder_with(tmp_path, {"tokenizer_class": "BertTokenizer", "do_lower_case": False})
    with pytest.raises(UserError, match=r"other ids than the tokenizer\.json does.* Write it anew\.$"):
        read_as_stock(tmp_path, expected, "Write it anew.")


@pytest.mark.parametrize("settings", [{"tokenizer_class": 3}, {"added_tokens_decoder": []}, {"model_max_length": "x"}])
def test_whatever_transformers_raises_is_told(tmp_path: Path, settings: dict) -> None:
    expected = folder_with(tmp_path, settings)
    with pytest.raises(UserError, match=r"transformers cannot open the tokenizer: .* Write it anew\.$"):
        read_as_stock(tmp_path, expected, "Write it anew.")
