import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from privllm.core.errors import UserError
from privllm.core.special_tokens import PLACEHOLDERS
from privllm.export.gguf_vocabulary import LOOKED_UP, QWEN_WORDS, SPLITS, Kind, read_vocabulary, split_name, takes_space
from privllm.tokens.encode import WORDS

TEXTS = ["the store keeps every row in a page of its own", "and the page keeps the rows 12 345"] * 3


def byte_level(
    *steps: pre_tokenizers.PreTokenizer, ignore_merges: bool = False, texts: Sequence[str] = TEXTS, size: int = 300
) -> Tokenizer:
    """A byte-level BPE with other steps before the bytes, learnt on a few sentences or on other texts."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(list(steps)) if len(steps) > 1 else steps[0]
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|end|>", "<|begin|>", "<|turn|>", "<|eom|>", "<|call|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def words(pattern: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def to_bytes(use_regex: bool) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def pieces() -> Tokenizer:
    """A BPE as sentencepiece learns it: every way to make a token is a merge, and those of one token stand together."""
    tokens = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{number:02X}>" for number in range(256)),
        "▁",
        "a",
        "b",
        "ab",
        "▁ab",
        "aba",
    ]
    merges = [("a", "b"), ("▁", "ab"), ("ab", "a")]
    model = models.BPE({token: number for number, token in enumerate(tokens)}, merges, unk_token="<unk>")
    model.byte_fallback, model.fuse_unk = True, True
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def folder_of(tokenizer: Tokenizer, folder: Path, **settings: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    return folder


def test_our_own_vocabulary(exported: Callable[..., Path]) -> None:
    folder = exported()
    vocabulary = read_vocabulary(folder, 330, {"eos_token_id": [0, 5]})
    definition = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    size = len(definition["model"]["vocab"])
    assert vocabulary.values["model"] == "gpt2"
    assert vocabulary.values["pre"] == "smaug-bpe"
    assert vocabulary.tokens[:2] == ["<|endoftext|>", "<|pad|>"]
    assert vocabulary.kinds[:6] == [Kind.CONTROL] * 6
    assert vocabulary.kinds[6:13] == [Kind.USER_DEFINED] * len(PLACEHOLDERS)
    assert vocabulary.kinds[size:] == [Kind.UNUSED] * (330 - size)
    assert len(set(vocabulary.tokens)) == 330
    assert len(vocabulary.merges) == len(definition["model"]["merges"])
    assert vocabulary.scores == vocabulary.notes == []
    assert vocabulary.ends == [0, 5]


KNOWN = [  # (steps, whether whole words skip the merges, llama.cpp's name)
    ((words(WORDS), to_bytes(False)), False, "smaug-bpe"),
    ((words(WORDS), to_bytes(False)), True, "llama-bpe"),
    ((words(QWEN_WORDS), to_bytes(False)), False, "qwen2"),
    ((pre_tokenizers.Digits(individual_digits=True), to_bytes(True)), False, "smollm"),
    ((to_bytes(True),), False, "gpt-2"),
]


@pytest.mark.parametrize(("steps", "ignores_merges", "name"), KNOWN)
def test_a_split_is_known_by_its_pattern(
    steps: tuple[pre_tokenizers.PreTokenizer, ...], ignores_merges: bool, name: str
) -> None:
    tokenizer = byte_level(*steps, ignore_merges=ignores_merges)
    assert split_name(json.loads(tokenizer.to_str()), "t") == name
    assert name in SPLITS.values()


@pytest.mark.parametrize(
    "tokenizer",
    [
        byte_level(words(r"\w+|\W+"), to_bytes(False)),
        byte_level(pre_tokenizers.Split(Regex(WORDS), "removed"), to_bytes(False)),
        byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True)),
        byte_level(to_bytes(True), ignore_merges=True),
        Tokenizer(models.BPE()),
    ],
)
def test_other_splits_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="not known here by llama"):
        split_name(json.loads(tokenizer.to_str()), "t")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"), "is a WordPiece tokenizer"),
        (models.Unigram([("a", 0.0)], 0, False), "is a Unigram tokenizer"),
        (models.Unigram([("a", 0.0)], 0, True), "is a Unigram tokenizer"),
        (models.BPE(end_of_word_suffix="</w>"), "by a prefix or suffix"),
    ],
)
def test_other_tokenizers_are_refused(model: models.Model, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        read_vocabulary(folder_of(Tokenizer(model), tmp_path / "t"), 10, {})


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_file_that_is_no_tokenizer_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(UserError, match=r"tokenizer\.json cannot be read"):
        read_vocabulary(tmp_path, 10, {})


def test_a_sentencepiece_has_scores(tmp_path: Path) -> None:
    folder = folder_of(pieces(), tmp_path / "t", bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    vocabulary = read_vocabulary(folder, 266, {"eos_token_id": 2})
    named = dict(zip(vocabulary.tokens, zip(vocabulary.kinds, vocabulary.scores, strict=True), strict=True))
    assert named["<unk>"][0] == Kind.UNKNOWN
    assert named["<s>"][0] == Kind.CONTROL
    assert named["<0x0A>"][0] == Kind.BYTE
    assert named["ab"][1] > named["▁ab"][1] > named["aba"][1]
    assert vocabulary.merges == []
    expected = {
        "model": "llama",
        "add_space_prefix": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
        "add_bos_token": True,
        "add_eos_token": False,
    }
    assert {key: vocabulary.values[key] for key in expected} == expected


def test_merges_that_no_score_can_say_are_refused(tmp_path: Path) -> None:
    tokenizer = pieces()
    definition = json.loads(tokenizer.to_str())
    definition["model"]["merges"] = [["a", "b"], ["ab", "a"], ["a", "b"]]
    folder = folder_of(tokenizer, tmp_path / "t")
    (folder / "tokenizer.json").write_text(json.dumps(definition), "utf-8")
    with pytest.raises(UserError, match="merges `ab` in several places"):
        read_vocabulary(folder, 266, {})


def test_ends_of_tokenizer_and_configuration(tmp_path: Path) -> None:
    folder = folder_of(byte_level(to_bytes(True)), tmp_path / "t", eos_token="<|turn|>")
    vocabulary = read_vocabulary(folder, 300, {"eos_token_id": [0, 2, 3, 4]})
    assert vocabulary.ends == [2, 0, 3, 4]
    assert [vocabulary.values[f"{role}_token_id"] for role in ("eos", "eot", "eom")] == [2, 0, 3]
    assert vocabulary.values["bos_token_id"] == 2  # or llama.cpp would take the id 11
    assert any("<|call|>" in note for note in vocabulary.notes)


def test_what_a_tokenizer_puts_around_a_text(tmp_path: Path) -> None:
    tokenizer = byte_level(to_bytes(True))
    settings = {"bos_token": {"content": "<|begin|>"}, "eos_token": "<|end|>"}
    plain = read_vocabulary(folder_of(tokenizer, tmp_path / "a", **settings), 300, {}).values
    assert (plain["add_bos_token"], plain["add_eos_token"], plain["bos_token_id"]) == (False, False, 1)
    asked = read_vocabulary(folder_of(tokenizer, tmp_path / "b", add_bos_token=True, **settings), 300, {}).values
    assert (asked["add_bos_token"], asked["add_eos_token"]) == (True, False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|turn|> $A <|end|>", special_tokens=[("<|turn|>", 2), ("<|end|>", 0)]
    )
    both = read_vocabulary(folder_of(tokenizer, tmp_path / "c", **settings), 300, {}).values
    assert (both["add_bos_token"], both["add_eos_token"], both["bos_token_id"]) == (True, True, 2)


def test_what_llama_cpp_does_otherwise_is_said(tmp_path: Path) -> None:
    tokenizer = byte_level(to_bytes(True))
    tokenizer.normalizer = normalizers.NFC()
    definition = json.loads(tokenizer.to_str())
    used = set("".join(map("".join, definition["model"]["merges"])))
    byte = next(token for token in definition["model"]["vocab"] if len(token) == 1 and token not in used)
    del definition["model"]["vocab"][byte]
    folder = folder_of(tokenizer, tmp_path / "t")
    (folder / "tokenizer.json").write_text(json.dumps(definition), "utf-8")
    notes = read_vocabulary(folder, 300, {}).notes
    assert any("NFC" in note for note in notes)
    assert any("lacks 1 of the 256 bytes" in note for note in notes)


def test_tokens_beyond_the_matrix_are_refused(tmp_path: Path) -> None:
    tokenizer = byte_level(to_bytes(True))
    tokenizer.add_tokens([AddedToken("<new>")])
    with pytest.raises(UserError, match="has the id 300, but the model only 300 rows"):
        read_vocabulary(folder_of(tokenizer, tmp_path / "t"), 300, {})


def test_white_space_behind_special_tokens_goes_by_the_name(tmp_path: Path) -> None:
    assert takes_space("<|end|>", "Phi-3 mini")
    assert not takes_space("<|endoftext|>", "phi3")
    assert not takes_space("<|end|>", "phi-4")
    plain, taking = byte_level(to_bytes(True)), byte_level(to_bytes(True))
    for tokenizer in (plain, taking):
        tokenizer.add_special_tokens(list(LOOKED_UP))
    taking.add_special_tokens([AddedToken("<|stop|>", rstrip=True, normalized=False)])
    for tokenizer, name, is_said in ((plain, "m", False), (plain, "My-Phi3", True), (taking, "m", True)):
        notes = read_vocabulary(folder_of(tokenizer, tmp_path / "t"), 310, {}, name).notes
        assert any("white space behind special tokens" in note for note in notes) == is_said


def test_a_name_by_which_llama_cpp_looks_for_tokens_needs_them(tmp_path: Path) -> None:
    folder = folder_of(byte_level(to_bytes(True)), tmp_path / "t")
    read_vocabulary(folder, 300, {}, "phi-4")
    with pytest.raises(UserError, match=r"has no token <unk>, without which llama\.cpp loads no model .* `a phi-3`"):
        read_vocabulary(folder, 300, {}, "a phi-3")
