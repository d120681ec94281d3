"""dedup as a whole: against brute force, in any order of arrival, and what it writes."""

import random
import re
import subprocess
import sys
import tempfile
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privllm.core.cores import available_cores
from privllm.core.errors import UserError
from privllm.core.records import CLEAN, CLUSTERS, DEDUPED, document_id, shard_name, shard_of
from privllm.core.split import SplitConfig, split_of
from privllm.core.tables import read_folder, read_table, write_table
from privllm.dedup.clusters import Clusters
from privllm.dedup.recipe import SIGNATURES, DedupConfig, dedup, join_near, sign, signature_shard
from privllm.dedup.resolved_pairs import ResolvedPairs
from privllm.dedup.shingles import jaccard
from privllm.engine.cache import Cache
from privllm.engine.store import Before, Store

BITS = 2


def write_clean(texts: dict[str, str], folder: Path) -> None:
    """The texts as clean's shards, in the order of the dict."""
    blank: dict[str, str | float] = {
        "media_type": "text/plain",
        "digest": "",
        "language": "en",
        "language_score": 1.0,
        "placeholders": 0,
    }
    rows: list[dict] = [
        {"id": document_id(source), "source": source, "text": text, **blank} for source, text in texts.items()
    ]
    for shard in range(1 << BITS):
        mine = [row for row in rows if shard_of(row["id"], BITS) == shard]
        write_table(pa.Table.from_pylist(mine, CLEAN), folder / shard_name(shard))


def run(texts: dict[str, str], folder: Path, cfg: DedupConfig | None = None) -> tuple[dict, dict[str, dict]]:
    """The report, and by source what clusters.parquet says of each document."""
    write_clean(texts, folder / "clean")
    report = dedup(cfg or DedupConfig(), SplitConfig(), folder / "clean", folder / "dedup")
    sources = {document_id(source): source for source in texts}
    rows = read_table(folder / "dedup" / "clusters" / "clusters.parquet").to_pylist()
    return report, {sources[row["id"]]: {**row, "cluster": sources[row["cluster"]]} for row in rows}


def families(seed: int, count: int) -> dict[str, str]:
    """Random texts, each with variants of which every degree of overlap exists."""
    rng = random.Random(seed)
    vocabulary = [f"word{i}" for i in range(400)]
    texts = {}
    for family in range(count):
        base = rng.choices(vocabulary, k=rng.choice([7, 60, 150]))
        for variant in range(rng.randrange(1, 5)):
            words = list(base)
            for _ in range(rng.randrange(0, len(base) // 12 + 2)):
                words[rng.randrange(len(words))] = rng.choice(vocabulary)
            texts[f"{family}-{variant}"] = " ".join(words)
    return texts


def plain_shingles(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))}


def brute_force(texts: dict[str, str], threshold: float) -> set[frozenset[str]]:
    """Connected components of the exact word-5-gram Jaccard graph."""
    sets = {source: plain_shingles(text) for source, text in texts.items()}
    group = {source: {source} for source in texts}
    for left, right in combinations(texts, 2):
        if len(sets[left] & sets[right]) / len(sets[left] | sets[right]) >= threshold:
            merged = group[left] | group[right]
            group.update(dict.fromkeys(merged, merged))
    return {frozenset(members) for members in group.values()}


def survivors_of(texts: dict[str, str], members: set[str], threshold: float) -> set[str]:
    """The longest, and each that is like no longer one that stays."""
    kept: dict[str, set[tuple[str, ...]]] = {}
    for source in sorted(members, key=lambda source: (-len(texts[source]), document_id(source))):
        own = plain_shingles(texts[source])
        if all(len(own & other) / len(own | other) < threshold for other in kept.values()):
            kept[source] = own
    return set(kept)


@pytest.mark.parametrize(("seed", "threshold"), [(1, 0.8), (2, 0.8), (3, 0.5), (4, 0.9), (5, 1.0)])
def test_clusters_are_those_of_brute_force(seed: int, threshold: float, tmp_path: Path) -> None:
    texts = families(seed, 60)
    _, verdicts = run(texts, tmp_path, DedupConfig(threshold=threshold))
    members_by_cluster: dict[str, set[str]] = {}
    for source, verdict in verdicts.items():
        members_by_cluster.setdefault(verdict["cluster"], set()).add(source)
    expected = brute_force(texts, threshold)
    assert {frozenset(members) for members in members_by_cluster.values()} == expected
    assert any(len(members) > 2 for members in expected)
    for name, members in members_by_cluster.items():
        assert document_id(name) == min(map(document_id, members))
        assert {source for source in members if verdicts[source]["kept"]} == survivors_of(texts, members, threshold)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 3))
def test_order_of_arrival_changes_no_byte(rng: random.Random, seed: int) -> None:
    texts = families(seed, 8)
    shuffled = list(texts.items())
    rng.shuffle(shuffled)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        assert run(texts, Path(first))[0] == run(dict(shuffled), Path(second))[0]
        assert contents(Path(first) / "dedup") == contents(Path(second) / "dedup")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_texts_without_a_word_are_compared_whole(tmp_path: Path) -> None:
    report, _ = run({"a": "...", "b": "!", "c": " ... "}, tmp_path)
    assert report == {
        "documents_in": 3,
        "kept": 2,
        "dropped": {"exact": 1, "near": 0, "other_side": 0},
        "clusters_of_many": 1,
        "largest_cluster": 2,
        "chained": 0,
        "repeated_lines": {"pages": 0, "lines": 0},
    }


def test_what_is_written_and_counted(tmp_path: Path) -> None:
    long = " ".join(f"w{i}" for i in range(100))
    texts = {
        "a": long,
        "b": long.replace(" ", "\n"),
        "c": long + " and more",
        "d": "something else altogether, quite short",
        "e": "...",
        "f": "!",
    }
    report, verdicts = run(texts, tmp_path)
    assert report == {
        "documents_in": 6,
        "kept": 4,
        "dropped": {"exact": 1, "near": 1, "other_side": 0},
        "clusters_of_many": 1,
        "largest_cluster": 3,
        "chained": 0,
        "repeated_lines": {"pages": 0, "lines": 0},
    }
    assert {source for source, verdict in verdicts.items() if verdict["kept"]} == {"c", "d", "e", "f"}
    assert {verdicts[source]["reason"] for source in "ab"} == {"exact", "near"}
    survivors = read_folder(tmp_path / "dedup")
    assert survivors.schema == DEDUPED
    assert survivors["id"].to_pylist() == sorted(document_id(source) for source in "cdef")
    cluster = dict(zip(survivors["source"].to_pylist(), survivors["cluster"].to_pylist(), strict=True))
    assert cluster == {
        "c": min(map(document_id, "abc")),
        "d": document_id("d"),
        "e": document_id("e"),
        "f": document_id("f"),
    }
    assert survivors["split"].to_pylist() == [
        split_of(SplitConfig(), name) for name in survivors["cluster"].to_pylist()
    ]
    table = read_table(tmp_path / "dedup" / "clusters" / "clusters.parquet")
    assert table.schema == CLUSTERS
    assert table["id"].to_pylist() == sorted(map(document_id, "abcdef"))
    assert sorted(contents(tmp_path / "dedup")) == [
        *(shard_name(i) for i in range(1 << BITS)),
        "clusters/clusters.parquet",
        "repeated_lines.txt",
    ]


def test_identical_pages_become_one(tmp_path: Path) -> None:
    report, _ = run({f"p{i}": "the same page over and over again, word by word" for i in range(2000)}, tmp_path)
    assert report == {
        "documents_in": 2000,
        "kept": 1,
        "dropped": {"exact": 1999, "near": 0, "other_side": 0},
        "clusters_of_many": 1,
        "largest_cluster": 2000,
        "chained": 0,
        "repeated_lines": {"pages": 0, "lines": 0},
    }


def test_nearly_identical_pages_become_one(tmp_path: Path) -> None:
    base = " ".join(f"w{i}" for i in range(200))
    report, _ = run({f"p{i}": f"{base} {i}" for i in range(1000)}, tmp_path)
    assert report["kept"] == 1
    assert report["dropped"] == {"exact": 0, "near": 999, "other_side": 0}


def test_doubtful_pairs_are_settled_in_portions_as_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = families(9, 40)
    _, at_once = run(texts, tmp_path / "one")
    monkeypatch.setattr("privllm.dedup.recipe.PAIRS_IN_DOUBT", 1)
    monkeypatch.setattr("privllm.dedup.recipe.PAIRS_AT_ONCE", 1)
    assert run(texts, tmp_path / "two")[1] == at_once


def test_a_signature_shard_is_a_small_table(tmp_path: Path) -> None:
    write_clean({"a": "one two three four five six", "b": "?"}, tmp_path)
    written = [tmp_path / shard_name(i) for i in range(1 << BITS)]
    assert sum(signature_shard(tmp_path / "signatures", path, 5, None) for path in written) == 2
    table = read_folder(tmp_path / "signatures")
    assert table.schema == SIGNATURES
    by_id = {row["id"]: row for row in table.to_pylist()}
    assert len(by_id[document_id("a")]["signature"]) == 512
    assert by_id[document_id("a")]["length"] == 27
    assert by_id[document_id("b")]["signature"] is None


BEFORE = {"same": "one two three four five six", "edited": "seven eight nine ten eleven", "removed": "gone gone gone"}
AFTER = {"same": BEFORE["same"], "edited": "seven eight nine ten twelve", "added": "a new one"}


def test_an_edited_document_gets_a_new_signature_and_no_other_is_signed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clean(BEFORE, tmp_path / "before")
    write_clean(AFTER, tmp_path / "after")
    signed: list[str] = []

    def noting(table: pa.Table, words: int) -> pa.Table:
        signed.extend(table["id"].to_pylist())
        return sign(table, words)

    monkeypatch.setattr("privllm.dedup.recipe.sign", noting)
    for name in map(shard_name, range(1 << BITS)):
        signature_shard(tmp_path / "old", tmp_path / "before" / name, 5, None)
        signature_shard(tmp_path / "new", tmp_path / "after" / name, 5, None)
    signed.clear()
    for name in map(shard_name, range(1 << BITS)):
        before = Before({name: tmp_path / "before" / name}, {name: tmp_path / "old" / name}, None)
        signature_shard(tmp_path / "taken over", tmp_path / "after" / name, 5, before)
    assert contents(tmp_path / "taken over") == contents(tmp_path / "new")
    assert sorted(signed) == sorted(map(document_id, ("edited", "added")))


THRESHOLDS = (0.75, 0.8, 0.85, 0.8, 0.7, 0.75)


def test_what_is_remembered_at_one_threshold_joins_nothing_at_another(tmp_path: Path) -> None:
    """Similarities are kept from run to run; whether they suffice is asked each time."""
    texts = families(6, 60)
    store = Store(Cache(tmp_path / "cache", ("copy",)), "1")
    write_clean(texts, tmp_path / "clean")
    for i, threshold in enumerate(THRESHOLDS):
        cfg = DedupConfig(threshold=threshold)
        dedup(cfg, SplitConfig(), tmp_path / "clean", tmp_path / f"kept{i}", store)
        dedup(cfg, SplitConfig(), tmp_path / "clean", tmp_path / f"anew{i}")
        assert contents(tmp_path / f"kept{i}") == contents(tmp_path / f"anew{i}"), threshold
    clusters = {(tmp_path / f"anew{i}/clusters/clusters.parquet").read_bytes() for i in range(len(THRESHOLDS))}
    assert len(clusters) == len(set(THRESHOLDS)), "the thresholds must tell something apart, or this proves nothing"


@pytest.mark.parametrize(("remembered", "joins"), [(0.79, False), (0.8, True), (0.81, True)])
def test_a_remembered_pair_is_joined_from_the_threshold_on(tmp_path: Path, remembered: float, joins: bool) -> None:
    """Of 128 numbers of the two signatures 102 agree, so that the estimate leaves the pair in doubt."""
    digests = pa.array(["a", "b"])
    first = ResolvedPairs(tmp_path / "note", digests)
    first.add(np.array([[0], [1]]), np.array([remembered]))
    first.save()
    numbers = np.zeros((2, 128), np.uint32)
    numbers[1, 102:] = 1
    clusters = Clusters(2)

    def read_sets(rows: np.ndarray) -> dict[int, np.ndarray]:
        assert not len(rows), "it is remembered, so no text is read"
        return {}

    join_near(0.8, np.arange(2), numbers, clusters, read_sets, ResolvedPairs(tmp_path / "note", digests))
    assert clusters.roots().tolist() == [0, 0 if joins else 1]


def test_an_edit_is_compared_anew_and_the_other_pairs_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = families(6, 40)
    store = Store(Cache(tmp_path / "cache", ("copy",)), "1")
    compared: list[int] = []
    monkeypatch.setattr("privllm.dedup.recipe.jaccard", lambda one, other: compared.append(1) or jaccard(one, other))
    write_clean(texts, tmp_path / "clean")
    dedup(DedupConfig(), SplitConfig(), tmp_path / "clean", tmp_path / "first", store)
    asked, name = len(compared), next(iter(texts))
    assert asked >= 20
    compared.clear()
    texts[name] += " and a few words more, which come to be read"
    write_clean(texts, tmp_path / "clean")
    dedup(DedupConfig(), SplitConfig(), tmp_path / "clean", tmp_path / "edited", store)
    assert len(compared) < asked / 4
    dedup(DedupConfig(), SplitConfig(), tmp_path / "clean", tmp_path / "anew")
    assert contents(tmp_path / "edited") == contents(tmp_path / "anew")


def test_nothing_to_deduplicate_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"reports/clean\.json"):
        run({}, tmp_path)


@pytest.mark.parametrize("values", [{"threshold": 0.1}, {"threshold": 1.1}, {"words": 0}, {"words": 50}])
def test_parameters_out_of_range(values: dict) -> None:
    with pytest.raises(UserError, match=r"dedup\."):
        DedupConfig(**values)


FORKABLE = """
import sys
from pathlib import Path
from privllm.core.split import SplitConfig
from privllm.dedup.recipe import DedupConfig, dedup
from privllm.engine.executor import FORKED_INLINE_BYTES, bytes_of
assert bytes_of((tuple(Path("clean").glob("*")),)) > FORKED_INLINE_BYTES
dedup(DedupConfig(), SplitConfig(), Path("clean"), Path("dedup"))
print("rensa" in sys.modules)
"""


@pytest.mark.skipif(sys.platform != "linux" or available_cores() < 2, reason="workers are forked on Linux alone")
def test_workers_can_still_be_forked_after_signing(tmp_path: Path) -> None:
    rng = random.Random(5)
    write_clean({f"{number}.txt": rng.randbytes(20_000).hex(" ", 4) for number in range(40)}, tmp_path / "clean")
    done = subprocess.run([sys.executable, "-c", FORKABLE], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False"], done.stderr
