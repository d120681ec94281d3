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
from privllm.core.records import document_id
from privllm.core.seed import unit_interval
from privllm.core.split import SplitConfig, split_of
from privllm.core.store import NO_STORE
from privllm.core.tables import read_table
from privllm.tokens.encoding import Encoder
from privllm.tokens.vocabulary import PLACEHOLDERS, SPECIALS, TokenizerConfig, learn_tokenizer, write_sample

LEARN = """
import sys
from pathlib import Path
from privllm.core.split import SplitConfig
from privllm.core.store import NO_STORE
from privllm.core.tables import read_table
from privllm.tokens.vocabulary import TokenizerConfig, learn_tokenizer
cfg = TokenizerConfig(vocabulary=400, sample_megabytes=0.02)
learn_tokenizer(cfg, SplitConfig(validation=0.2, test=0.2), Path(sys.argv[1]), Path(sys.argv[2]))
"""


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def training_order(corpus: dict[str, str], split: SplitConfig) -> list[str]:
    """Sources of the training documents in the order in which the sample takes them: the obvious implementation."""
    training = [source for source in corpus if split_of(split, document_id(source)) == "train"]
    return sorted(training, key=lambda source: unit_interval("tokenizer", document_id(source)))


def test_report_and_files(tokenizer: Path, small: TokenizerConfig, split: SplitConfig, deduped: Path, tmp_path: Path) -> None:
    report = learn_tokenizer(small, split, deduped, tmp_path)
    assert digest(tmp_path) == digest(tokenizer)
    assert sorted(digest(tmp_path)) == ["tokenizer.json", "tokenizer_config.json"]
    assert 300 <= report["vocabulary"] <= 400
    assert 0 < report["sample_bytes"] <= 20_000
    assert report["sample_documents"] == report["round_trip_documents"] > 0
    assert 1 < report["bytes_per_token"] < 10


def test_special_tokens_come_first(tokenizer: Path) -> None:
    parts = json.loads((tokenizer / "tokenizer.json").read_text("utf-8"))
    assert [(token["id"], token["content"], token["special"]) for token in parts["added_tokens"]] == [
        (i, content, content in SPECIALS) for i, content in enumerate(SPECIALS + PLACEHOLDERS)
    ]
    assert parts["normalizer"] is None


@pytest.mark.parametrize(("hash_seed", "threads", "parallel"), [("1", "1", "false"), ("2", "4", "true")])
def test_same_bytes_in_another_process(deduped: Path, tokenizer: Path, tmp_path: Path, hash_seed: str, threads: str, parallel: str) -> None:
    settings = {"PYTHONHASHSEED": hash_seed, "RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": parallel}
    subprocess.run([sys.executable, "-c", LEARN, str(deduped), str(tmp_path)], check=True, env=os.environ | settings, timeout=60)
    assert digest(tmp_path) == digest(tokenizer)


def texts_of(sample: list[Path]) -> list[str]:
    return [row["text"] for row in sorted((row for path in sample for row in read_table(path).to_pylist()), key=lambda row: row["place"])]


def test_sample_is_the_first_training_documents_by_hash_of_id(
    corpus: dict[str, str], split: SplitConfig, deduped: Path, tmp_path: Path
) -> None:
    cfg = TokenizerConfig(sample_megabytes=0.005)
    sample = texts_of(write_sample(cfg, split, deduped, tmp_path, NO_STORE))
    expected = [corpus[source] for source in training_order(corpus, split)][: len(sample)]
    assert len(sample) > 3
    assert sample[:-1] == expected[:-1]
    assert expected[-1].startswith(sample[-1])
    assert 4_997 <= sum(len(text.encode()) for text in sample) <= 5_000  # a character of up to four bytes is not cut


def test_sample_does_not_depend_on_the_number_of_shards(
    corpus: dict[str, str], split: SplitConfig, deduped: Path, write: Callable[..., Path], tmp_path: Path
) -> None:
    cfg = TokenizerConfig(sample_megabytes=0.005)
    one = write_sample(cfg, split, write(tmp_path / "in", corpus, bits=0), tmp_path / "one", NO_STORE)
    many = write_sample(cfg, split, deduped, tmp_path / "many", NO_STORE)
    assert (len(one), texts_of(one)) == (1, texts_of(many))


def test_only_a_change_inside_the_sample_changes_the_tokenizer(
    corpus: dict[str, str], split: SplitConfig, write: Callable[..., Path], tmp_path: Path
) -> None:
    cfg = TokenizerConfig(vocabulary=350, sample_megabytes=0.005)
    order = training_order(corpus, split)
    held_out = next(source for source in corpus if source not in order)
    changes = {"same": {}, "outside": {order[-1]: "Zyzzyva! " * 50, held_out: "Zyzzyva! " * 50}, "inside": {order[0]: "Zyzzyva! " * 50}}
    digests = {}
    for name, change in changes.items():
        learn_tokenizer(cfg, split, write(tmp_path / name / "in", corpus | change), tmp_path / name / "out")
        digests[name] = digest(tmp_path / name / "out")
    assert digests["same"] == digests["outside"] != digests["inside"]


def test_no_merge_is_spent_on_placeholders(split: SplitConfig, write: Callable[..., Path], tmp_path: Path) -> None:
    texts = {f"{n}.txt": f"zq{n}x <CREDENTIAL> {n * 7919} the old house by the lake {n}" for n in range(60)}
    learn_tokenizer(TokenizerConfig(vocabulary=400, min_frequency=1), split, write(tmp_path / "in", texts), tmp_path / "out")
    vocabulary = json.loads((tmp_path / "out" / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    assert [token for token in vocabulary if "CRE" in token] == ["<CREDENTIAL>"]


def test_loads_with_transformers(tokenizer: Path) -> None:
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(tokenizer)
    assert (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id, loaded.mask_token_id) == (0, 0, 1, 2)
    assert loaded.all_special_tokens == list(SPECIALS)
    text = "the café <EMAIL> said <|endoftext|>"
    assert loaded(text, split_special_tokens=True)["input_ids"] == Encoder.open(tokenizer).encode([text])[0].tolist()
    ids: Any = loaded.apply_chat_template([{"role": "user", "content": "the house"}], add_generation_prompt=True, return_dict=False)
    assert loaded.decode(ids) == "<|endoftext|><|user|>the house<|end|><|assistant|>"
    assert [ids[0], ids[1], ids[-2], ids[-1]] == [0, 3, 5, 4]
    with pytest.raises(Exception, match="a role is user or assistant"):
        loaded.apply_chat_template([{"role": "system", "content": "x"}])


def test_nothing_to_learn_from(split: SplitConfig, write: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no document with text .* is in the training split.*split\.validation"):
        learn_tokenizer(TokenizerConfig(), split, write(tmp_path / "in", {}), tmp_path / "out")


def test_too_little_to_learn_from(split: SplitConfig, write: Callable[..., Path], tmp_path: Path) -> None:
    source = write(tmp_path / "in", {f"{n}.txt": "ab" for n in range(20)})
    with pytest.raises(UserError, match=r"fewer than 300.*tokenizer\.min_frequency"):
        learn_tokenizer(TokenizerConfig(), split, source, tmp_path / "out")


@pytest.mark.parametrize(("key", "value"), [("vocabulary", 299), ("sample_megabytes", 0), ("min_frequency", 0)])
def test_out_of_range(key: str, value: int) -> None:
    with pytest.raises(UserError, match=rf"tokenizer\.{key}"):
        TokenizerConfig(**{key: value})
