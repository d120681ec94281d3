"""The choice: by id, judges first, within the budget, and hardly moved by one document more."""

from pathlib import Path

import pyarrow as pa
import pytest

from privllm.annotate.select import Choice, choose
from privllm.core.records import DEDUPED, document_id, shard_name, shard_of
from privllm.core.seed import unit_interval
from privllm.core.split import SplitConfig, split_of
from privllm.core.tables import write_table

SPLIT = SplitConfig(validation=0.1, test=0.1)


def write_deduped(texts: dict[str, str], folder: Path, language: str = "en", bits: int = 1) -> list[Path]:
    blank = {"media_type": "text/plain", "digest": "", "language": language, "language_score": 1.0, "placeholders": 0}
    rows: list[dict] = []
    for source, text in texts.items():
        name = document_id(source)
        ids = {"id": name, "source": source, "cluster": name, "split": split_of(SPLIT, name)}
        rows.append(blank | ids | {"text": text})
    paths = [folder / shard_name(shard) for shard in range(1 << bits)]
    for shard, path in enumerate(paths):
        write_table(pa.Table.from_pylist([row for row in rows if shard_of(row["id"], bits) == shard], DEDUPED), path)
    return paths


def chosen(
    texts: dict[str, str], folder: Path, fraction: float = 0.3, limit: int = 10_000, language: str = "en"
) -> dict[str, str]:
    choice = choose(write_deduped(texts, folder, language), {"en"}, fraction, limit, 1_000)
    return {identifier: split for shard in choice.split_by_id for identifier, split in shard.items()}


def pages(count: int) -> dict[str, str]:
    return {f"page{i}": "x" * 100 for i in range(count)}


def test_every_judge_and_a_share_of_the_rest(tmp_path: Path) -> None:
    selected = chosen(pages(300), tmp_path, limit=1_000_000)
    for source in pages(300):
        identifier = document_id(source)
        split = split_of(SPLIT, identifier)
        expected = split != "train" or unit_interval("annotate", identifier) < 0.3
        assert (identifier in selected) == expected
        assert selected.get(identifier, split) == split
    assert set(selected.values()) == {"train", "validation", "test"}


def test_the_budget_is_spent_on_judges_first(tmp_path: Path) -> None:
    everything = chosen(pages(300), tmp_path / "all", limit=1_000_000)
    judges = sum(split != "train" for split in everything.values())
    selected = chosen(pages(300), tmp_path / "some", limit=100 * (judges + 5))
    assert len(selected) == judges + 5
    assert sum(split != "train" for split in selected.values()) == judges
    few = chosen(pages(300), tmp_path / "few", limit=100 * (judges - 5) + 99)
    assert len(few) == judges - 5
    assert "train" not in few.values()
    assert few.items() <= selected.items() <= everything.items()


def test_one_document_more_changes_at_most_two_choices(tmp_path: Path) -> None:
    before = chosen(pages(300), tmp_path / "before", limit=4_000)
    for extra in range(5):
        after = chosen({**pages(300), f"new{extra}": "x" * 100}, tmp_path / str(extra), limit=4_000)
        assert len(before.keys() ^ after.keys()) <= 2


def test_a_long_document_counts_with_its_first_characters(tmp_path: Path) -> None:
    texts = dict.fromkeys(pages(50), "x" * 100000)
    assert len(chosen(texts, tmp_path, fraction=1.0, limit=7_999)) == 7


@pytest.mark.parametrize(("language", "some"), [("en", True), ("", True), ("fr", False)])
def test_only_the_language_of_the_model(language: str, some: bool, tmp_path: Path) -> None:
    assert bool(chosen(pages(50), tmp_path, language=language)) == some


def test_what_no_pipeline_is_for_is_counted(tmp_path: Path) -> None:
    sources = write_deduped(pages(50) | {"empty": ""}, tmp_path, language="fr")
    assert choose(sources, {"en", "de"}, 1.0, 10_000, 1_000).uncovered == {"fr": 50}
    judges = sum(split_of(SPLIT, document_id(source)) != "train" for source in pages(50))
    assert choose(sources, {"en", "de"}, 0.0, 10_000, 1_000).uncovered == {"fr": judges}
    assert not choose(sources, {"en", ""}, 1.0, 10_000, 1_000).uncovered


def test_no_budget_no_text_no_documents(tmp_path: Path) -> None:
    assert chosen(pages(50), tmp_path / "a", limit=0) == {}
    assert chosen(dict.fromkeys(pages(50), ""), tmp_path / "b") == {}
    assert choose(write_deduped({}, tmp_path / "c"), {"en"}, 1.0, 100, 100) == Choice([{}, {}])
