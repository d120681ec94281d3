import json
from collections.abc import Callable
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.serve.engine.embedding_folder import ExportedTexts, open_embedding_folder
from privllm.serve.engine.pooling import Pooling
from tests.foreign import BERT_NAMES, wordpiece_tokenizer


def test_a_masked_export_reads_texts_as_in_training(exported_masked: Path) -> None:
    opened = open_embedding_folder(exported_masked, "abc")
    assert (opened.name.name, opened.name.revision, opened.context, opened.pooling) == (
        "reader-1",
        "abc",
        96,
        Pooling(),
    )
    ids = opened.texts.encode("the page <|endoftext|>")
    begin, *text, end = ids
    assert {begin, end} <= opened.texts.special
    assert not opened.texts.special & set(text)  # what is typed is no mark
    assert opened.texts.decode(text) == "the page <|endoftext|>"


def test_typed_marks_stay_text_in_another_tokenizer_too(sentence_folder: Callable[..., Path]) -> None:
    opened = open_embedding_folder(sentence_folder("Transformer", "Pooling", mean_tokens=True))
    ids = opened.texts.encode("the [SEP] page qqq")
    assert (ids[0], ids[-1]) == (2, 3)
    assert len([token for token in ids if token in opened.texts.special]) == 2
    assert 1 in ids  # a word that it does not know is text
    assert opened.context == 40  # of its tokenizer


def test_other_folders_are_refused(exported: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not of the masked family"):
        open_embedding_folder(exported())
    for name, text in (("config.json", "{}"), ("model.safetensors", ""), ("tokenizer.json", "{}")):
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match="holds no encoder that transformers opens"):
        open_embedding_folder(tmp_path)


def test_an_unknown_word_is_text(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(wordpiece_tokenizer(), "utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(BERT_NAMES), "utf-8")
    texts = ExportedTexts(tmp_path)
    begin, *words, end = texts.encode("\u6570 \u6570")
    assert len(words) == 2
    assert not texts.special & set(words)
    assert texts.special >= {begin, end}
