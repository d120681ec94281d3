import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers, processors

from privllm.base.gguf_tokenizer import merges_of, write_tokenizer
from privllm.core.errors import UserError
from privllm.export.gguf_vocabulary import QWEN_WORDS, Kind, read_vocabulary
from privllm.tokens.encode import WORDS
from tests.export.nasty_texts import nasty_texts
from tests.export.test_gguf_vocabulary import byte_level, folder_of, pieces, to_bytes, words


def as_gguf(folder: Path, rows: int, **config: Any) -> dict[str, Any]:
    """Return what a GGUF file would say of a tokenizer."""
    vocabulary = read_vocabulary(folder, rows, config)
    lists = {"tokens": vocabulary.tokens, "token_type": vocabulary.kinds, "merges": vocabulary.merges}
    lists["scores"] = vocabulary.scores
    values = {f"tokenizer.ggml.{key}": value for key, value in (vocabulary.values | lists).items()}
    return values | {"tokenizer.chat_template": vocabulary.template}


def as_gemma() -> Tokenizer:
    """A sentencepiece BPE without a space in front, as Gemma has it, with a mark that is no special token."""
    tokenizer = pieces()
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.add_tokens([AddedToken("<table>", normalized=False)])
    return tokenizer


@pytest.mark.parametrize(
    "tokenizer",
    [
        as_gemma(),
        byte_level(words(WORDS), to_bytes(False)),
        byte_level(words(WORDS), to_bytes(False), ignore_merges=True),
        byte_level(words(QWEN_WORDS), to_bytes(False)),
        byte_level(pre_tokenizers.Digits(individual_digits=True), to_bytes(True)),
        byte_level(to_bytes(True)),
        pieces(),
    ],
)
def test_ids_are_those_of_the_tokenizer_that_was_written(tokenizer: Tokenizer, tmp_path: Path) -> None:
    settings = {"bos_token": "<s>", "eos_token": "<|end|>", "unk_token": "<unk>"}
    values = as_gguf(folder_of(tokenizer, tmp_path / "t", **settings), 310)
    out = tmp_path / "out"
    out.mkdir()
    write_tokenizer(values, out, "m.gguf")
    back = Tokenizer.from_file(str(out / "tokenizer.json"))
    for text in [*nasty_texts(), "ab aba  ab", "ab <table> ab", "<|turn|> the page<|end|>"]:
        assert back.encode(text).ids == tokenizer.encode(text).ids, text
        assert back.encode(text, add_special_tokens=False).ids == tokenizer.encode(text, add_special_tokens=False).ids


def test_rows_without_a_token_are_no_tokens(tmp_path: Path) -> None:
    values = as_gguf(folder_of(byte_level(to_bytes(True)), tmp_path / "t"), 310)
    write_tokenizer(values, tmp_path, "m.gguf")
    back = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert back.token_to_id("[PAD305]") is None
    assert back.get_vocab_size() <= 300


def test_a_file_that_does_not_say_so_begins_texts_as_llama_cpp_does(tmp_path: Path) -> None:
    tokenizer = byte_level(words(WORDS), to_bytes(False), ignore_merges=True)
    values = as_gguf(folder_of(tokenizer, tmp_path / "t", bos_token="<|begin|>"), 300)
    del values["tokenizer.ggml.add_bos_token"]
    write_tokenizer(values | {"tokenizer.ggml.pre": "llama3"}, tmp_path, "m.gguf")
    back = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert back.encode("a").ids[0] == back.token_to_id("<|begin|>")


def test_what_stands_around_a_text_survives(tmp_path: Path) -> None:
    tokenizer = byte_level(to_bytes(True))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A <|end|>", special_tokens=[("<|begin|>", 1), ("<|end|>", 0)]
    )
    folder = folder_of(tokenizer, tmp_path / "t", bos_token="<|begin|>", eos_token="<|end|>")
    write_tokenizer(as_gguf(folder, 300), tmp_path, "m.gguf")
    back = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert back.encode("the row").ids == tokenizer.encode("the row").ids
    assert back.encode("the row", "a page").ids.count(1) == 2
    values = as_gguf(folder, 300) | {"tokenizer.ggml.add_bos_token": False}
    write_tokenizer(values, tmp_path, "m.gguf")
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("a").ids[-1] == 0


@pytest.mark.parametrize("name", ["Phi-3-mini", "m"])
def test_marks_of_turns_take_the_white_space_behind_them_in_phi_3(tmp_path: Path, name: str) -> None:
    tokenizer = pieces()
    marks = [AddedToken(mark, rstrip=name != "m", normalized=False) for mark in ("<|user|>", "<|end|>")]
    tokenizer.add_special_tokens(marks)
    values = as_gguf(folder_of(tokenizer, tmp_path / "t", bos_token="<s>"), 310) | {"general.name": name}
    write_tokenizer(values, tmp_path, "m.gguf")
    back = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in ("<|user|>\n ab<|end|>\n<|user|>", "<s> ab", "<|end|>", "ab  <|end|>  ab"):
        assert back.encode(text).ids == tokenizer.encode(text).ids, text


def test_names_and_ends(tmp_path: Path) -> None:
    folder = folder_of(byte_level(to_bytes(True)), tmp_path / "t", eos_token="<|turn|>", pad_token="<|eom|>")
    values = as_gguf(folder, 300, eos_token_id=[0, 2])
    assert write_tokenizer(values, tmp_path, "m.gguf") == [2, 0]
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text("utf-8"))
    assert (settings["eos_token"], settings["pad_token"]) == ("<|turn|>", "<|eom|>")
    assert not (tmp_path / "chat_template.jinja").exists()


def test_merges_follow_from_scores() -> None:
    assert merges_of(["a", "b", "ab", "ba", "aba"], [0, 0, -1, -2, -3]) == ["a b", "b a", "a ba", "ab a"]


@pytest.mark.parametrize(
    "change",
    [{"merges": ["x y"]}, {"tokens": ["a", "a"], "merges": [], "token_type": [Kind.NORMAL] * 2}],
)
def test_a_tokenizer_that_contradicts_itself_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    values = as_gguf(folder_of(byte_level(to_bytes(True)), tmp_path / "t"), 300)
    values |= {f"tokenizer.ggml.{key}": value for key, value in change.items()}
    with pytest.raises(UserError, match=r"contradicts itself|twice"):
        write_tokenizer(values, tmp_path, "m.gguf")
