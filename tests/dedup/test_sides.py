"""Sides: nothing that is recorded crosses, whatever grows, is edited or is set; and a clean build agrees."""

import random
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privllm.core.errors import UserError
from privllm.core.promoted import SIDES_FILE
from privllm.core.records import CLEAN, SIDES, document_id, shard_name, shard_of
from privllm.core.split import SPLITS, SplitConfig
from privllm.core.tables import read_folder, read_table, write_table
from privllm.dedup.exact import normalised_digest
from privllm.dedup.recipe import DedupConfig, dedup
from privllm.dedup.sides import BARRED, NEW, RECORDED, UNRECORDED, merged, read_sides, sides_of, stand, without
from privllm.engine.cache import Cache
from privllm.engine.store import NO_STORE, Store

BITS = 1
HALVES = SplitConfig(validation=0.25, test=0.25)
EDITS = ("add", "copy", "near copy", "join", "edit", "rewrite", "rename", "remove")


def write_clean(texts: dict[str, str], folder: Path) -> Path:
    blank = {"media_type": "text/plain", "digest": "", "language": "en", "language_score": 1.0, "placeholders": 0}
    rows = [{"id": document_id(source), "source": source, "text": text, **blank} for source, text in texts.items()]
    for shard in range(1 << BITS):
        own = sorted((row for row in rows if shard_of(row["id"], BITS) == shard), key=lambda row: row["id"])
        write_table(pa.Table.from_pylist(own, CLEAN), folder / shard_name(shard))
    return folder


def prose(chance: random.Random, words: int = 60) -> str:
    return " ".join(f"word{chance.randrange(5000)}" for _ in range(words))


def edit(texts: dict[str, str], kind: str, chance: random.Random) -> dict[str, str]:
    """`texts` with one change."""
    edited = dict(texts)
    name, other = chance.choice(sorted(texts)), chance.choice(sorted(texts))
    new = f"new{chance.randrange(10**9)}"
    if kind == "add":
        edited[new] = prose(chance)
    elif kind == "copy":
        edited[new] = texts[name]
    elif kind == "near copy":
        edited[new] = texts[name] + " and more"
    elif kind == "join":  # a document that is like two others, which may stand on two sides
        half = texts[name].split(), texts[other].split()
        edited[new] = " ".join([*half[0], *half[1]])
    elif kind == "edit":
        edited[name] = texts[name] + " one word"
    elif kind == "rewrite":
        edited[name] = texts[other]
    elif kind == "rename":
        edited[new] = edited.pop(name)
    elif len(texts) > 2:
        del edited[name]
    return edited


def build(
    texts: dict[str, str], cfg: DedupConfig, split: SplitConfig, sides: pa.Table, folder: Path, store: Store = NO_STORE
) -> Path:
    write_table(sides, folder / "sides" / SIDES_FILE)
    dedup(cfg, split, write_clean(texts, folder / "clean"), folder / "dedup", store, folder / "sides")
    return folder / "dedup"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(EDITS), max_size=5), min_size=1, max_size=4),
    st.lists(st.sampled_from([0.3, 0.5, 0.8, 1.0]), min_size=4, max_size=4),
    st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5]), min_size=4, max_size=4),
    st.integers(0, 1000),
)
def test_nothing_recorded_crosses(
    revisions: list[list[str]], thresholds: list[float], shares: list[float], seed: int
) -> None:
    """Each revision is promoted, edited and built with other parameters; no id and no text stands on another side."""
    chance = random.Random(seed)
    texts = {f"page{i}": prose(chance) for i in range(12)}
    with tempfile.TemporaryDirectory() as work:
        sides = sides_of(build(texts, DedupConfig(), HALVES, SIDES.empty_table(), Path(work, "first")))
        store = Store(Cache(Path(work, "cache")), "code")
        for turn, edits in enumerate(revisions):
            for kind in edits:
                texts = edit(texts, kind, chance)
            cfg, split = DedupConfig(thresholds[turn]), SplitConfig(shares[turn], shares[-turn])
            deduped = build(texts, cfg, split, sides, Path(work, f"kept{turn}"), store)
            clean = build(texts, cfg, split, sides, Path(work, f"clean{turn}"))
            assert contents(deduped) == contents(clean)
            documents = read_folder(deduped).to_pylist()
            for records in (sides, merged(sides, sides_of(deduped))):
                side_of = dict(zip(records["id"].to_pylist(), records["split"].to_pylist(), strict=True))
                side_of |= dict(zip(records["digest"].to_pylist(), records["split"].to_pylist(), strict=True))
                for row in documents:
                    for name in (row["id"], normalised_digest(row["text"])):
                        assert side_of.get(name, row["split"]) == row["split"]
            sides = merged(sides, sides_of(deduped))


def test_the_first_promotion_changes_no_byte(tmp_path: Path) -> None:
    """So DVC skips everything after `dedup`."""
    chance = random.Random(1)
    texts = {f"page{i}": prose(chance) for i in range(30)}
    texts |= {f"copy{i}": texts[f"page{i}"] + " and more" for i in range(10)}
    first = build(texts, DedupConfig(), HALVES, SIDES.empty_table(), tmp_path / "first")
    assert contents(build(texts, DedupConfig(), HALVES, sides_of(first), tmp_path / "second")) == contents(first)


def test_a_duplicate_of_each_document_moves_none(tmp_path: Path) -> None:
    """A cluster is named by its smallest id, so without records half of the held-out documents crossed."""
    chance = random.Random(2)
    texts = {f"page{i}": prose(chance) for i in range(200)}
    first = build(texts, DedupConfig(), HALVES, SIDES.empty_table(), tmp_path / "first")
    grown = texts | {f"version{i}": texts[f"page{i}"] + " and more" for i in range(200)}

    def crossed(sides: pa.Table, name: str) -> int:
        splits = dict.fromkeys(grown, "")
        table = read_folder(build(grown, DedupConfig(), HALVES, sides, tmp_path / name), ["cluster", "id", "split"])
        before = dict(zip(*(read_folder(first)[column].to_pylist() for column in ("id", "split")), strict=True))
        clusters = read_table(tmp_path / name / "dedup/clusters/clusters.parquet")
        split_of_cluster = dict(zip(table["cluster"].to_pylist(), table["split"].to_pylist(), strict=True))
        splits = dict(zip(clusters["id"].to_pylist(), clusters["cluster"].to_pylist(), strict=True))
        return sum(split_of_cluster[splits[identifier]] != split for identifier, split in before.items())

    assert crossed(SIDES.empty_table(), "without") > 30
    assert crossed(sides_of(first), "with") == 0
    survivors = set(read_folder(tmp_path / "with/dedup", ["id"])["id"].to_pylist())
    assert survivors == set(read_folder(first, ["id"])["id"].to_pylist())  # though the new ones are longer


def test_of_two_sides_that_become_alike_the_trained_one_wins(tmp_path: Path) -> None:
    text = prose(random.Random(3))
    texts = {"trained": text, "judged": text + " and more", "new": text + " and more and more"}
    rows = [("trained", "train"), ("judged", "test")]
    records = [{"id": document_id(n), "digest": normalised_digest(texts[n]), "split": split} for n, split in rows]
    deduped = build(texts, DedupConfig(), HALVES, pa.Table.from_pylist(records, SIDES), tmp_path)
    documents = read_folder(deduped).to_pylist()
    assert [(row["source"], row["split"]) for row in documents] == [("trained", "train")]
    clusters = read_table(deduped / "clusters/clusters.parquet").to_pylist()
    reasons = {row["id"]: row["reason"] for row in clusters}
    assert reasons == {document_id("trained"): "", document_id("judged"): "other_side", document_id("new"): "near"}
    recorded = {(row["id"], row["split"]) for row in sides_of(deduped).to_pylist()}
    assert recorded == {(document_id("trained"), "train"), (document_id("new"), "train")}


def test_where_documents_stand() -> None:
    """By id and by text; a text of one side under an id of another is on neither, and neither is what is like it alone."""
    rows = [("a", "1", "test"), ("b", "2", "train"), ("e", "5", "train")]
    sides = pa.Table.from_pylist([dict(zip(SIDES.names, row, strict=True)) for row in rows], SIDES)
    ids, digests = pa.array(["a", "b", "c", "d", "e", "f"]), pa.array(["9", "1", "8", "7", "6", "5"])
    found = stand(sides, ids, digests, np.array([0, 1, 1, 3, 4, 4]))
    assert found.standing.tolist() == [RECORDED, BARRED, BARRED, NEW, RECORDED, RECORDED]
    sides_found = [(*SPLITS, "")[side] for side in found.side]
    assert (sides_found, UNRECORDED) == (["test", "", "", "", "train", "train"], len(SPLITS))


def test_records_of_what_is_gone_stay_until_they_are_taken_out() -> None:
    earlier = pa.table([["b", "a"], ["2", "1"], ["test", "train"]], schema=SIDES)
    later = pa.table([["a", "a"], ["1", "3"], ["train", "train"]], schema=SIDES)
    both = merged(earlier, later)
    assert both.to_pylist() == [
        {"id": "a", "digest": "1", "split": "train"},
        {"id": "a", "digest": "3", "split": "train"},
        {"id": "b", "digest": "2", "split": "test"},
    ]
    assert without(both, {"b"}, {"3"}, {"b"})["digest"].to_pylist() == ["1"]
    assert without(both, {"b"}, {"3"}, {"a", "b"})["digest"].to_pylist() == ["1", "3"]


def test_a_file_that_was_not_fetched_is_no_empty_one(tmp_path: Path) -> None:
    assert len(read_sides(tmp_path)) == 0
    (tmp_path / f"{SIDES_FILE}.dvc").write_text("outs: []")
    with pytest.raises(UserError, match="dvc pull"):
        read_sides(tmp_path)


def test_a_hundred_thousand_documents_are_no_burden(tmp_path: Path) -> None:
    count = 100_000
    names = [document_id(str(i)) for i in range(count)]
    digests = [document_id(f"digest {i}") for i in range(count)]
    splits = [SPLITS[i % 3] for i in range(count)]
    write_table(merged(SIDES.empty_table(), pa.table([names, digests, splits], schema=SIDES)), tmp_path / SIDES_FILE)
    assert (tmp_path / SIDES_FILE).stat().st_size < 8_000_000
    began = time.process_time()
    found = stand(read_sides(tmp_path), pa.array(names), pa.array(digests), np.arange(count))
    assert time.process_time() - began < 2
    assert (found.standing == RECORDED).all()
