import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import privllm.core.offline  # noqa: F401
from privllm.core.errors import UserError
from privllm.core.special_tokens import PLACEHOLDERS, SPECIAL_TOKENS
from privllm.tokens.encode import Encoder
from privllm.tokens.vocabulary import TokenizerConfig, learn_tokenizer
from privllm.tokens.vocabulary_sample import SampleConfig, write_sample
from tests.foreign import foreign_tokenizer

LEARN = """
import sys
from pathlib import Path
from privllm.tokens.vocabulary import TokenizerConfig, learn_tokenizer
learn_tokenizer(TokenizerConfig(vocabulary=400), Path(sys.argv[1]), Path(sys.argv[2]))
"""


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_report_and_files(tokenizer: Path, small: TokenizerConfig, sample: Path, tmp_path: Path) -> None:
    report = learn_tokenizer(small, sample, tmp_path)
    assert digest(tmp_path) == digest(tokenizer)
    assert sorted(digest(tmp_path)) == ["tokenizer.json", "tokenizer_config.json"]
    assert 300 <= report["vocabulary"] <= 400
    assert 0 < report["sample_bytes"] <= 20_000
    assert report["sample_documents"] == report["round_trip_documents"] > 0
    assert 1 < report["bytes_per_token"] < 10


def test_special_tokens_come_first(tokenizer: Path) -> None:
    parts = json.loads((tokenizer / "tokenizer.json").read_text("utf-8"))
    assert [(token["id"], token["content"], token["special"]) for token in parts["added_tokens"]] == [
        (i, content, content in SPECIAL_TOKENS) for i, content in enumerate(SPECIAL_TOKENS + PLACEHOLDERS)
    ]
    assert parts["normalizer"] is None


@pytest.mark.slow
@pytest.mark.parametrize(("hash_seed", "threads", "parallel"), [("1", "1", "false"), ("2", "4", "true")])
def test_same_bytes_in_another_process(
    sample: Path, tokenizer: Path, tmp_path: Path, hash_seed: str, threads: str, parallel: str
) -> None:
    settings = {"PYTHONHASHSEED": hash_seed, "RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": parallel}
    subprocess.run(
        [sys.executable, "-c", LEARN, str(sample), str(tmp_path)], check=True, env=os.environ | settings, timeout=60
    )
    assert digest(tmp_path) == digest(tokenizer)


def learn(cfg: TokenizerConfig, documents: Path, out: Path) -> None:
    write_sample(SampleConfig(), documents, documents / "sample")
    learn_tokenizer(cfg, documents / "sample", out)


def test_no_merge_is_spent_on_placeholders(write: Callable[..., Path], tmp_path: Path) -> None:
    texts = {f"{n}.txt": f"zq{n}x <CREDENTIAL> {n * 7919} the old house by the lake {n}" for n in range(60)}
    learn(TokenizerConfig(vocabulary=400, min_frequency=1), write(tmp_path / "in", texts), tmp_path / "out")
    vocabulary = json.loads((tmp_path / "out" / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    assert [token for token in vocabulary if "CRE" in token] == ["<CREDENTIAL>"]


def test_loads_with_transformers(tokenizer: Path) -> None:
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(tokenizer)
    assert (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id, loaded.mask_token_id) == (0, 0, 1, 2)
    assert loaded.all_special_tokens == list(SPECIAL_TOKENS)
    text = "the café <EMAIL> said <|endoftext|>"
    assert loaded(text, split_special_tokens=True)["input_ids"] == Encoder.open(tokenizer).encode([text])[0].tolist()
    ids: Any = loaded.apply_chat_template(
        [{"role": "user", "content": "the house"}], add_generation_prompt=True, return_dict=False
    )
    assert loaded.decode(ids) == "<|endoftext|><|user|>the house<|end|><|assistant|>"
    assert [ids[0], ids[1], ids[-2], ids[-1]] == [0, 3, 5, 4]
    system = {"role": "system", "content": "Be kind."}
    asked = [system, {"role": "user", "content": "the house"}]
    assert loaded.apply_chat_template(asked, tokenize=False) == "<|endoftext|><|user|>Be kind.\n\nthe house<|end|>"
    with pytest.raises(Exception, match="a user speaks after the system prompt"):
        loaded.apply_chat_template([system])
    with pytest.raises(Exception, match="a role is user or assistant"):
        loaded.apply_chat_template([*asked, system])


def test_nothing_to_learn_from(write: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no document with text is in the training split.*split\.validation"):
        learn(TokenizerConfig(), write(tmp_path / "in", {}), tmp_path / "out")


def test_too_little_to_learn_from(write: Callable[..., Path], tmp_path: Path) -> None:
    source = write(tmp_path / "in", {f"{n}.txt": "ab" for n in range(20)})
    with pytest.raises(UserError, match=r"fewer than 300.*tokenizer\.min_frequency"):
        learn(TokenizerConfig(), source, tmp_path / "out")


@pytest.mark.parametrize(("key", "value"), [("vocabulary", 299), ("min_frequency", 0)])
def test_out_of_range(key: str, value: int) -> None:
    with pytest.raises(UserError, match=rf"tokenizer\.{key}"):
        TokenizerConfig(**{key: value})


def test_a_placeholder_of_an_own_kind_is_few_tokens(
    write: Callable[..., Path], corpus: dict[str, str], tmp_path: Path
) -> None:
    """It is text to the vocabulary, which learns it where documents have it."""
    texts = {source: text.replace("<EMAIL>", "by <CUSTOMER> today") for source, text in corpus.items()}
    write_sample(SampleConfig(megabytes=0.02), write(tmp_path / "in", texts), tmp_path / "sample")
    learn_tokenizer(TokenizerConfig(vocabulary=400), tmp_path / "sample", tmp_path / "out")
    encoder = Encoder.open(tmp_path / "out")
    (ids,) = encoder.encode([" <CUSTOMER>"])
    assert len(ids) <= 3
    assert encoder.decode(ids) == " <CUSTOMER>"


def test_a_bases_files_are_copied_and_measured_though_it_puts_a_mark_before_a_text(
    sample: Path, tmp_path: Path
) -> None:
    start = tmp_path / "start"
    start.mkdir()
    (start / "start.json").write_text('{"start": "data/base/x"}', "utf-8")
    (start / "tokenizer.json").write_text(foreign_tokenizer(), "utf-8")
    (start / "chat_template.jinja").write_text("{{ messages }}", "utf-8")
    report = learn_tokenizer(TokenizerConfig(), sample, tmp_path / "out", start=start)
    assert (report["start"], report["kept"]) == ("data/base/x", False)
    assert report["round_trip_documents"] == report["sample_documents"] > 0
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (tmp_path / "out" / name).read_bytes() == (start / name).read_bytes()
    assert not (tmp_path / "out/start.json").exists()
