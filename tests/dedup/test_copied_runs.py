"""Copied runs against the obvious implementation, tuples of words in a set, and whatever was built before."""

import re
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privllm.core.records import COPIED_RUNS, DEDUPED, document_id, shard_name, shard_of
from privllm.core.tables import read_folder, read_table, write_table
from privllm.dedup.copied_runs import WINDOW, find_copied_runs
from privllm.dedup.shingles import word_spans
from privllm.engine.cache import Cache
from privllm.engine.store import Store

BITS = 1
NUMBERED = " ".join(f"word{number}" for number in range(40))
Corpus = dict[str, tuple[str, str]]  # {source: (split, text)}


def write_deduped(corpus: Corpus, folder: Path) -> None:
    blank = {"media_type": "", "digest": "", "language": "", "language_score": 0.0, "placeholders": 0, "cluster": ""}
    rows: list[dict] = []
    for source, (split, text) in corpus.items():
        rows.append({"id": document_id(source), "source": source, "split": split, "text": text} | blank)
    for shard in range(1 << BITS):
        of_shard = [row for row in rows if shard_of(row["id"], BITS) == shard]
        write_table(pa.Table.from_pylist(of_shard, DEDUPED), folder / shard_name(shard))


def copied(corpus: Corpus, folder: Path, store: Store | None = None) -> tuple[dict, dict[str, list[bytes]]]:
    """The report, and {source: the copied runs as they stand in the text}."""
    write_deduped(corpus, folder / "dedup")
    report = find_copied_runs(folder / "dedup", folder / "dedup" / "copied", store or Store())
    sources = {document_id(source): source for source in corpus}
    found: dict[str, list[bytes]] = {}
    for row in read_folder(folder / "dedup" / "copied").to_pylist():
        source = sources[row["id"]]
        found.setdefault(source, []).append(corpus[source][1].encode()[row["begin"] : row["end"]])
    return report, found


def plain_words(text: str) -> list[re.Match[str]]:
    return list(re.finditer(r"[ก一]|[^\W一ก]+", text))


def plain_runs(corpus: Corpus) -> dict[str, list[bytes]]:
    """Each word of a held-out text that lies in a window of training text, joined where they are neighbours."""
    training: set[tuple[str, ...]] = set()
    for split, text in corpus.values():
        if split == "train":
            lower = [word[0].lower() for word in plain_words(text)]
            training |= {tuple(lower[first : first + WINDOW]) for first in range(len(lower) - WINDOW + 1)}
    expected = {}
    for source, (split, text) in corpus.items():
        words = plain_words(text)
        covered: set[int] = set()
        for first in range(len(words) - WINDOW + 1):
            window = range(first, first + WINDOW)
            if split != "train" and tuple(words[place][0].lower() for place in window) in training:
                covered |= set(window)
        texts: list[tuple[int, int]] = []
        for place in sorted(covered):
            if place - 1 in covered:
                texts[-1] = texts[-1][0], words[place].end()
            else:
                texts.append((words[place].start(), words[place].end()))
        if texts:
            expected[source] = [text[begin:end].encode() for begin, end in texts]
    return expected


# few words, so that windows of them meet; of one, two and three bytes a character, in both cases, and of a script without spaces
WORDS = st.lists(st.sampled_from(["a ", "B", "b, ", "Ж-", "ж ", "é\n", "一", "ก. ", "x_1 ", "..."]), max_size=30)
# the same stretches again and again
STRETCH = " ".join("abbabaabbaababbaabababab")
TEXTS = st.lists(
    WORDS.map("".join) | st.sampled_from([STRETCH, STRETCH[8:], STRETCH.upper(), "一" * 14]), max_size=4
).map(" ".join)
SPLITS = st.sampled_from(["train", "validation", "test"])


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(SPLITS, TEXTS), max_size=6))
def test_runs_are_those_of_tuples_in_a_set(documents: list[tuple[str, str]]) -> None:
    corpus = {f"{number}.txt": document for number, document in enumerate(documents)}
    with tempfile.TemporaryDirectory() as folder:
        report, found = copied(corpus, Path(folder))
    assert found == plain_runs(corpus)
    for split in ("validation", "test"):
        texts = {source: text for source, (of, text) in corpus.items() if of == split}
        words = {source: len(plain_words(text)) for source, text in texts.items()}
        in_runs = {}
        for source in texts:
            in_runs[source] = sum(len(plain_words(run.decode())) for run in found.get(source, []))
        figures = report[split]
        assert figures["documents"] == len(texts)
        assert figures["words"] == sum(words.values())
        assert figures["copied_words"] == sum(in_runs.values())
        assert figures["mostly_copied"] == sum(2 * in_runs[source] > words[source] for source in texts)
        assert figures["copied_share"] == pytest.approx(sum(in_runs.values()) / max(1, sum(words.values())), abs=1e-6)


@given(TEXTS)
def test_words_lie_where_a_regular_expression_finds_them(text: str) -> None:
    begins, ends = word_spans(text)
    assert list(zip(begins.tolist(), ends.tolist(), strict=True)) == [word.span() for word in plain_words(text)]


def test_a_window_counts_from_thirteen_words_on(tmp_path: Path) -> None:
    words = NUMBERED.split()
    corpus = {
        "training": ("train", NUMBERED),
        "twelve": ("test", "so " + " ".join(words[4:16]) + " it is"),
        "thirteen": ("test", "So: " + "  ".join(words[4:17]).upper() + ", it is"),
    }
    report, found = copied(corpus, tmp_path)
    assert found == {"thirteen": ["  ".join(words[4:17]).upper().encode()]}
    assert report["test"] == {
        "documents": 2,
        "mostly_copied": 1,
        "words": 31,
        "copied_words": 13,
        "copied_share": round(13 / 31, 6),
    }


def test_short_texts_and_copies_among_held_out_documents_do_not_count(tmp_path: Path) -> None:
    corpus = {
        "short": ("train", "one two three"),
        "short too": ("validation", "One two three"),
        "held out": ("validation", NUMBERED),
        "held out too": ("test", NUMBERED),
    }
    assert copied(corpus, tmp_path)[1] == {}
    assert read_table(tmp_path / "dedup" / "copied" / shard_name(0)).schema == COPIED_RUNS


EDITS = st.lists(
    st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(SPLITS, TEXTS), max_size=6), min_size=2, max_size=4
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(EDITS)
def test_what_was_built_before_changes_no_byte(builds: list[Corpus]) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        store = Store(Cache(Path(one) / "cache"), "code")
        for corpus in builds:
            report, _ = copied(corpus, Path(one), store)
        assert copied(builds[-1], Path(other))[0] == report
        assert contents(Path(one)) == contents(Path(other))


def contents(folder: Path) -> dict[str, bytes]:
    spans = folder / "dedup" / "copied"
    return {str(path.relative_to(spans)): path.read_bytes() for path in sorted(spans.rglob("*")) if path.is_file()}


def test_an_edit_of_a_training_document_costs_its_own_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def map_in_turn(function, jobs, label, inline_bytes=None, apart=False):  # type: ignore[no-untyped-def]
        ran.extend(job[0].__name__ for job in jobs)
        return [function(*job) for job in jobs]

    store = Store(Cache(tmp_path / "cache"), "code", executor=map_in_turn)
    sources = [f"{number}.txt" for number in range(12)]
    corpus = {source: ("train", f"{source} {NUMBERED}") for source in sources} | {"held": ("test", NUMBERED)}
    assert len({shard_of(document_id(source), BITS) for source in sources}) == 2
    copied(corpus, tmp_path, store)
    ran.clear()
    copied(corpus | {sources[0]: ("train", "what nobody quotes")}, tmp_path, store)
    assert sorted(ran) == ["find_in_training", "hash_held_out", "mark_copied"]
