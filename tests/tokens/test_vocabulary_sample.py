"""The sample against the obvious implementation, and what leaves its bytes alone."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.core.records import document_id
from privllm.core.seed import unit_interval
from privllm.core.split import SplitConfig, split_of
from privllm.core.tables import shards_of
from privllm.tokens import vocabulary_sample
from privllm.tokens.vocabulary_sample import SampleConfig, sample_texts, write_sample

SMALL = SampleConfig(megabytes=0.005)


def training_order(corpus: dict[str, str], split: SplitConfig) -> list[str]:
    """Sources of the training documents in the order in which the sample takes them."""
    training = [source for source in corpus if split_of(split, document_id(source)) == "train"]
    return sorted(training, key=lambda source: unit_interval("tokenizer", document_id(source)))


def texts_of(folder: Path) -> list[str]:
    return sample_texts(shards_of(folder))


def test_it_is_the_first_training_documents_by_hash(
    corpus: dict[str, str], split: SplitConfig, deduped: Path, tmp_path: Path
) -> None:
    write_sample(SMALL, deduped, tmp_path / "out")
    texts = texts_of(tmp_path / "out")
    expected = [corpus[source] for source in training_order(corpus, split)][: len(texts)]
    assert len(texts) > 3
    assert texts[:-1] == expected[:-1]
    assert expected[-1].startswith(texts[-1])
    assert 4_997 <= sum(len(text.encode()) for text in texts) <= 5_000  # a character of up to four bytes is not cut


def test_all_where_there_is_less(corpus: dict[str, str], split: SplitConfig, deduped: Path, tmp_path: Path) -> None:
    write_sample(SampleConfig(), deduped, tmp_path / "out")
    assert texts_of(tmp_path / "out") == [corpus[source] for source in training_order(corpus, split)]


def test_it_does_not_depend_on_the_number_of_shards(
    corpus: dict[str, str], deduped: Path, write: Callable[..., Path], tmp_path: Path
) -> None:
    write_sample(SMALL, write(tmp_path / "in", corpus, bits=0), tmp_path / "one")
    write_sample(SMALL, deduped, tmp_path / "many")
    assert len(shards_of(tmp_path / "one")) == 1 < len(shards_of(tmp_path / "many"))
    assert texts_of(tmp_path / "one") == texts_of(tmp_path / "many")


@pytest.mark.parametrize("factor", [0, 1, 2, 100])
def test_how_much_is_looked_at_first_makes_no_difference(
    corpus: dict[str, str],
    split: SplitConfig,
    deduped: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    factor: int,
) -> None:
    """Also where it is too little, so that all has to be looked at."""
    monkeypatch.setattr(vocabulary_sample, "SHARE", factor)
    for kilobytes in (0.1, 1, 5, 20, 100):
        write_sample(SampleConfig(kilobytes / 1000), deduped, tmp_path / "out")
        sizes = [len(text.encode()) for text in texts_of(tmp_path / "out")]
        whole = [len(corpus[source].encode()) for source in training_order(corpus, split)]
        assert sum(sizes) in range(
            min(int(kilobytes * 1000), sum(whole)) - 3, min(int(kilobytes * 1000), sum(whole)) + 1
        )
        assert sizes[:-1] == whole[: len(sizes) - 1]


def test_only_a_change_inside_changes_its_bytes(
    corpus: dict[str, str], split: SplitConfig, write: Callable[..., Path], tmp_path: Path
) -> None:
    order = training_order(corpus, split)
    held_out = next(source for source in corpus if source not in order)
    outside = {order[-1]: "Zyzzyva! " * 50, held_out: "Zyzzyva! " * 50}
    without = {source: text for source, text in corpus.items() if source != order[-2]}
    digests = {}
    for name, texts in {
        "same": corpus,
        "outside": without | outside,
        "inside": corpus | {order[0]: "Zyzzyva! " * 50},
    }.items():
        write_sample(SMALL, write(tmp_path / name, texts), tmp_path / name / "sample")
        files = shards_of(tmp_path / name / "sample")
        digests[name] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert digests["same"] == digests["outside"] != digests["inside"]


def test_what_an_earlier_run_left_is_removed(corpus: dict[str, str], deduped: Path, tmp_path: Path) -> None:
    write_sample(SampleConfig(), deduped, tmp_path / "out")
    write_sample(SampleConfig(megabytes=0.0001), deduped, tmp_path / "out")
    assert len(shards_of(tmp_path / "out")) == 1


def test_an_empty_one_is_a_file_all_the_same(write: Callable[..., Path], tmp_path: Path) -> None:
    """DVC keeps no empty folders, and `tokenizer` depends on this one."""
    write_sample(SMALL, write(tmp_path / "in", {}), tmp_path / "out")
    assert len(shards_of(tmp_path / "out")) == 1
    assert texts_of(tmp_path / "out") == []


@pytest.mark.parametrize("megabytes", [0, -1, 1025])
def test_parameters_out_of_range_are_named(megabytes: float) -> None:
    with pytest.raises(UserError, match=r"sample\.megabytes"):
        SampleConfig(megabytes=megabytes)
