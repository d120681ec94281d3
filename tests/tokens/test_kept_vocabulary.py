"""The kept vocabulary: it stays whatever is edited, goes with the settings, and says how it fits what is new."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from privllm.core.errors import UserError
from privllm.core.records import document_id
from privllm.core.report import write_json
from privllm.core.tables import shards_of, write_table
from privllm.engine.cache import Cache
from privllm.engine.store import NO_STORE, Store
from privllm.tokens.kept_vocabulary import DOCUMENTS, KEPT, NOTE, SAMPLED, TOKENIZER, kept_for, settings_of
from privllm.tokens.vocabulary import TokenizerConfig, learn_tokenizer
from privllm.tokens.vocabulary_sample import SampleConfig, sample_documents, write_sample

SAMPLED_BYTES = SampleConfig(megabytes=0.5)


def keep(folder: Path, tokenizer: Path, sample: Path, settings: dict, bytes_per_token: float) -> None:
    """What `privllm vocabulary keep` writes."""
    kept = folder / KEPT
    kept.mkdir(parents=True)
    (kept / TOKENIZER).write_bytes((tokenizer / "tokenizer.json").read_bytes())
    ids = [identifier for identifier, _ in sample_documents(shards_of(sample))]
    write_table(pa.table([ids, ids], schema=SAMPLED), kept / DOCUMENTS)
    write_json(kept / NOTE, {"settings": settings, "bytes_per_token": bytes_per_token})


@pytest.fixture
def kept(small: TokenizerConfig, corpus: dict[str, str], write: Callable[..., Path], tmp_path: Path) -> Path:
    """data/vocabulary, of the corpus."""
    sample = tmp_path / "first/sample"
    write_sample(SAMPLED_BYTES, write(tmp_path / "first", corpus), sample)
    report = learn_tokenizer(small, sample, tmp_path / "learnt")
    assert report["kept"] is False
    settings = settings_of(small, SAMPLED_BYTES)
    keep(tmp_path / "vocabulary", tmp_path / "learnt", sample, settings, report["bytes_per_token"])
    return tmp_path / "vocabulary"


def test_an_edit_of_the_sample_changes_no_byte_of_it(
    kept: Path, small: TokenizerConfig, corpus: dict[str, str], write: Callable[..., Path], tmp_path: Path
) -> None:
    edited = {source: text + " Zyzzyva zyzzyva" for source, text in corpus.items()}
    write_sample(SAMPLED_BYTES, write(tmp_path / "second", edited), tmp_path / "second/sample")
    learn_tokenizer(small, tmp_path / "second/sample", tmp_path / "anew")
    store = Store(Cache(tmp_path / "cache"), "code")
    for some_store, name in ((NO_STORE, "clean"), (store, "first run"), (store, "second run")):
        out = tmp_path / name
        report = learn_tokenizer(small, tmp_path / "second/sample", out, some_store, None, kept, SAMPLED_BYTES)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            assert (out / file).read_bytes() == (tmp_path / "learnt" / file).read_bytes()
        assert (report["kept"], report["new_documents"], report["fits"]) == (True, 0, True)
    assert (tmp_path / "anew/tokenizer.json").read_bytes() != (tmp_path / "learnt/tokenizer.json").read_bytes()


@pytest.mark.parametrize(("new_text", "fits"), [("the house of a model builds ", True), ("Ψυχή ὀλίγη ἐστίν. ", False)])
def test_it_says_how_it_fits_new_documents(
    kept: Path,
    small: TokenizerConfig,
    corpus: dict[str, str],
    write: Callable[..., Path],
    tmp_path: Path,
    new_text: str,
    fits: bool,
) -> None:
    new = {f"new/{n}.txt": new_text * 40 for n in range(30)}
    if fits:
        new = {f"new/{n}.txt": text for n, text in enumerate(list(corpus.values()) * 3)}
    write_sample(SAMPLED_BYTES, write(tmp_path / "grown", corpus | new), tmp_path / "grown/sample")
    report = learn_tokenizer(small, tmp_path / "grown/sample", tmp_path / "out", NO_STORE, None, kept, SAMPLED_BYTES)
    in_sample = {identifier for identifier, _ in sample_documents(shards_of(tmp_path / "grown/sample"))}
    assert report["new_documents"] == len(in_sample & {document_id(source) for source in new}) > 0
    assert report["fits"] is fits
    assert (report["new_bytes_per_token"] >= 0.9 * report["learnt_bytes_per_token"]) is fits


def test_other_settings_ask_for_another_one(kept: Path, small: TokenizerConfig) -> None:
    for changed in (replace(small, vocabulary=500), replace(small, min_frequency=3)):
        assert kept_for(kept, settings_of(changed, SAMPLED_BYTES)) is None
    assert kept_for(kept, settings_of(small, SAMPLED_BYTES))
    assert kept_for(kept, settings_of(small, SampleConfig())) is None


def test_a_start_goes_before_it(kept: Path, small: TokenizerConfig, tmp_path: Path) -> None:
    other = tmp_path / "start"
    learn_tokenizer(replace(small, vocabulary=350), tmp_path / "first/sample", other)
    write_json(other / "start.json", {"start": "incumbent"})
    learn_tokenizer(small, tmp_path / "first/sample", tmp_path / "out", NO_STORE, other, kept, SAMPLED_BYTES)
    assert (tmp_path / "out/tokenizer.json").read_bytes() == (other / "tokenizer.json").read_bytes()


def test_one_that_was_not_fetched_is_not_learnt_anew(small: TokenizerConfig, tmp_path: Path) -> None:
    assert kept_for(tmp_path, settings_of(small, SAMPLED_BYTES)) is None
    (tmp_path / f"{KEPT}.dvc").write_text("outs: []")
    with pytest.raises(UserError, match="dvc pull"):
        kept_for(tmp_path, settings_of(small, SAMPLED_BYTES))
