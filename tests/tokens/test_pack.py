import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.core.errors import UserError
from privllm.core.records import document_id, shard_of
from privllm.core.report import write_json
from privllm.core.special_tokens import own_ids
from privllm.core.split import SPLITS, SplitConfig, split_of
from privllm.core.tables import read_folder
from privllm.engine import store as storing
from privllm.engine.cache import Cache
from privllm.engine.store import NO_STORE, Store
from privllm.tokens.best_fit import best_fit
from privllm.tokens.encode import Encoder
from privllm.tokens.mixture import slices_of
from privllm.tokens.pack import (
    FROM_WEAK_SPOTS,
    MOST_PADDING,
    PACKED,
    PackConfig,
    _require_every_split,
    pack,
    pack_rows,
)
from privllm.tokens.rows import open_rows

DOCUMENTS = st.lists(st.lists(st.integers(1, 99), max_size=30), max_size=8)
CONTEXT = 16


def packed_rows(documents: list[list[int]], context: int) -> tuple[list[list[int]], list[list[dict]]]:
    """Rows and pieces as lists."""
    ids = pa.array([f"d{i}" for i in range(len(documents))], pa.string())
    packed = pack_rows([np.array(tokens, np.int32) for tokens in documents], ids, context, own_ids(0))
    return packed.input_ids.to_pylist(), packed.pieces.to_pylist()


def pairs_of(row: list[int], pieces: list[dict]) -> list[tuple[str, int, int, int]]:
    """Read a row one token at a time: (document, place of the input, input, label)."""
    begins = {piece["row_start"] - 1: piece for piece in pieces}
    pairs, piece, place = [], None, 0
    for position in range(len(row) - 1):
        if position in begins:
            piece, place = begins[position], begins[position]["document_start"]
        label = 0 if position + 1 in begins else row[position + 1]
        pairs.append((piece["id"], place, row[position], label))
        place += 1
    return pairs


@given(documents=DOCUMENTS, context=st.integers(2, 12))
def test_each_token_is_an_input_and_a_label_once_and_so_is_each_documents_end(
    documents: list[list[int]], context: int
) -> None:
    rows, pieces = packed_rows(documents, context)
    pairs = [pair for row, of_row in zip(rows, pieces, strict=True) for pair in pairs_of(row, of_row)]
    wanted = []
    for number, tokens in enumerate(documents):
        inputs, labels = [0, *tokens], [*tokens, 0]
        if tokens:
            wanted += [(f"d{number}", *pair) for pair in zip(range(len(inputs)), inputs, labels, strict=True)]
    assert sorted(pairs) == sorted(wanted)


@given(documents=DOCUMENTS, context=st.integers(2, 12))
def test_pieces_give_documents_back(documents: list[list[int]], context: int) -> None:
    rows, pieces = packed_rows(documents, context)
    back: dict[str, dict[int, int]] = {f"d{i}": {} for i in range(len(documents))}
    for row, of_row in zip(rows, pieces, strict=True):
        for piece in of_row:
            labels = row[piece["row_start"] : piece["row_start"] + piece["tokens"]]
            places = range(piece["document_start"], piece["document_start"] + piece["tokens"])
            assert not back[piece["id"]].keys() & set(places)
            back[piece["id"]] |= dict(zip(places, labels, strict=True))
    assert [[tokens[place] for place in sorted(tokens)] for tokens in back.values()] == documents


@given(documents=DOCUMENTS, context=st.integers(2, 12))
def test_a_document_is_cut_only_where_it_is_longer_than_a_row_or_saves_one(
    documents: list[list[int]], context: int
) -> None:
    rows, pieces = packed_rows(documents, context)
    rests = np.array([(len(tokens) + 1) % context for tokens in documents if tokens], np.int64)
    full_rows = sum((len(tokens) + 1) // context for tokens in documents if tokens)
    row_count = full_rows + len(best_fit(rests[rests > 0], context))
    inputs = sum(len(tokens) + 1 for tokens in documents if tokens)
    assert all(2 <= len(row) <= context + 1 for row in rows)
    if len(rows) < row_count:
        assert row_count * context - inputs > MOST_PADDING * inputs - 1
        return
    assert len(rows) == row_count
    chunks = [(piece["id"], len(row)) for row, of_row in zip(rows, pieces, strict=True) for piece in of_row]
    for number, tokens in enumerate(documents):
        of_document = [length for name, length in chunks if name == f"d{number}"]
        assert len(of_document) == (-(-(len(tokens) + 1) // context) if tokens else 0)
        assert sum(length == context + 1 for length in of_document) >= len(of_document) - 1


def test_documents_of_one_length_waste_little() -> None:
    """Each is a little more than half a row."""
    rows, _ = packed_rows([[7] * 129] * 300, 256)
    labels = sum(len(row) - 1 for row in rows)
    assert labels == 300 * 130
    assert 1 - labels / (len(rows) * 256) < MOST_PADDING + 0.001


def test_the_example_of_the_header() -> None:
    rows, pieces = packed_rows([[10, 11, 12, 13, 14], [20]], 4)
    assert rows == [[0, 10, 11, 12, 13], [13, 14, 0, 20, 0]]
    assert [[tuple(piece.values()) for piece in of_row] for of_row in pieces] == [
        [("d0", 1, 0, 4)],
        [("d0", 1, 4, 1), ("d1", 3, 0, 1)],
    ]


@pytest.fixture(scope="module")
def packed(deduped: Path, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("pack")
    return out, pack(PackConfig(CONTEXT), deduped, tokenizer, out)


def digest(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def copies_in(folder: Path) -> dict[str, list[list[int]]]:
    """{id: the tokens of each copy} of the rows of one split."""
    tokens_at: dict[str, dict[int, list[int]]] = {}
    rows = open_rows(folder)
    for i in range(len(rows)):
        for piece in rows.pieces(i):
            places = tokens_at.setdefault(piece["id"], {})
            for place in range(piece["tokens"]):
                token = int(rows.tokens(i)[piece["row_start"] + place])
                places.setdefault(piece["document_start"] + place, []).append(token)
    copies = {}
    for identifier, places in tokens_at.items():
        columns = [places[place] for place in range(len(places))]
        copies[identifier] = [list(tokens) for tokens in zip(*columns, strict=True)]
    return copies


def test_every_document_lies_in_its_split(
    packed: tuple[Path, dict], corpus: dict[str, str], tokenizer: Path, split: SplitConfig
) -> None:
    out, _ = packed
    encoder = Encoder.open(tokenizer)
    back = {name: copies_in(out / name) for name in SPLITS}
    for source, text in corpus.items():
        identifier = document_id(source)
        (tokens,) = back[split_of(split, identifier)][identifier]
        assert encoder.decode(np.array(tokens)) == text
    assert sum(map(len, back.values())) == len(corpus)


def test_report_adds_up(packed: tuple[Path, dict], corpus: dict[str, str]) -> None:
    out, report = packed
    table = read_folder(out / "documents")
    assert table.schema.equals(PACKED)
    for name in SPLITS:
        part = [row for row in table.to_pylist() if row["split"] == name]
        assert report["documents"][name] == len(part) > 0
        assert report["tokens"][name] == sum(row["tokens"] for row in part)
        assert report["bytes"][name] == sum(row["bytes"] for row in part)
        assert report["rows"][name] == len(open_rows(out / name))
    assert sum(report["bytes"].values()) == sum(len(text.encode()) for text in corpus.values())
    assert report["bytes_per_token"] == round(sum(report["bytes"].values()) / sum(report["tokens"].values()), 4)
    assert report["context"] == CONTEXT


def test_padding_is_counted(packed: tuple[Path, dict]) -> None:
    out, report = packed
    for name in SPLITS:
        rows = open_rows(out / name)
        labels = sum(len(rows.tokens(i)) - 1 for i in range(len(rows)))
        assert report["padding"][name] == round(1 - labels / (len(rows) * CONTEXT), 4) > 0


def test_documents_point_at_their_first_row(packed: tuple[Path, dict]) -> None:
    out, _ = packed
    for row in read_folder(out / "documents").to_pylist():
        shard = out / row["split"] / f"{shard_of(row['id'], 2):05d}.arrow"
        pieces = pa.ipc.open_stream(shard).read_all()["pieces"].to_pylist()
        places = [i for i, row_pieces in enumerate(pieces) if any(piece["id"] == row["id"] for piece in row_pieces)]
        assert places[0] == row["first_row"]


def test_same_bytes_again(packed: tuple[Path, dict], deduped: Path, tokenizer: Path, tmp_path: Path) -> None:
    assert pack(PackConfig(CONTEXT), deduped, tokenizer, tmp_path) == packed[1]
    assert digest(tmp_path) == digest(packed[0])


def test_a_changed_document_rewrites_its_own_split_of_its_own_shard(
    packed: tuple[Path, dict],
    corpus: dict[str, str],
    tokenizer: Path,
    split: SplitConfig,
    write: Callable[..., Path],
    tmp_path: Path,
) -> None:
    source = next(iter(corpus))
    pack(PackConfig(CONTEXT), write(tmp_path / "in", corpus | {source: "the house"}), tokenizer, tmp_path / "out")
    before, after = digest(packed[0]), digest(tmp_path / "out")
    shard = shard_of(document_id(source), 2)
    name = split_of(split, document_id(source))
    assert {path for path in before if before[path] != after[path]} == {
        f"{name}/{shard:05d}.arrow",
        f"documents/{shard:05d}.parquet",
    }


def test_a_shard_without_documents_still_has_its_files(
    corpus: dict[str, str], tokenizer: Path, write: Callable[..., Path], tmp_path: Path
) -> None:
    sources = [source for source in corpus if shard_of(document_id(source), 2) != 3]
    pack(PackConfig(CONTEXT), write(tmp_path / "in", {s: corpus[s] for s in sources}), tokenizer, tmp_path / "out")
    for name in SPLITS:
        assert [path.name for path in sorted((tmp_path / "out" / name).iterdir())] == [
            f"{i:05d}.arrow" for i in range(4)
        ]
        assert pa.ipc.open_stream(tmp_path / "out" / name / "00003.arrow").read_all().num_rows == 0


def test_order_within_a_shard_does_not_matter(
    packed: tuple[Path, dict],
    corpus: dict[str, str],
    tokenizer: Path,
    write: Callable[..., Path],
    tmp_path: Path,
) -> None:
    import pyarrow.parquet as pq

    source = write(tmp_path / "in", corpus)
    for path in source.iterdir():
        pq.write_table(pq.read_table(path).sort_by([("text", "descending")]), path)
    pack(PackConfig(CONTEXT), source, tokenizer, tmp_path / "out")
    assert digest(tmp_path / "out") == digest(packed[0])


def test_too_small_to_split(tokenizer: Path, write: Callable[..., Path], tmp_path: Path) -> None:
    source = write(tmp_path / "in", {"a.txt": "the house", "b.txt": "the lake"})
    with pytest.raises(UserError, match=r"of 2 documents, .*got none.*Add documents.*split\.validation"):
        pack(PackConfig(CONTEXT), source, tokenizer, tmp_path / "out")


def test_documents_without_text_do_not_make_a_split(
    tokenizer: Path, write: Callable[..., Path], tmp_path: Path
) -> None:
    source = write(tmp_path / "in", {f"{n}.txt": "" for n in range(50)})
    with pytest.raises(UserError, match="of 50 documents, train and validation and test got none with text"):
        pack(PackConfig(CONTEXT), source, tokenizer, tmp_path / "out")


WEAK = PackConfig(CONTEXT, FROM_WEAK_SPOTS)


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last model was weak on short documents, of which it needs 1.6 times the bits."""
    path = tmp_path_factory.mktemp("promoted") / "weak_spots.json"
    spots = [{"kind": "length", "slice": "0-1 kB", "ratio": 1.6}, {"kind": "pos", "slice": "NOUN", "ratio": 3.0}]
    write_json(path, {"causal": spots})
    return path


@pytest.fixture(scope="module")
def weighted(
    deduped: Path, tokenizer: Path, promoted: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("weighted")
    return out, pack(WEAK, deduped, tokenizer, out, NO_STORE, promoted)


def test_weak_training_documents_come_again_and_no_others(
    packed: tuple[Path, dict], weighted: tuple[Path, dict], corpus: dict[str, str], tokenizer: Path
) -> None:
    out, encoder, documents = weighted[0], Encoder.open(tokenizer), read_folder(weighted[0] / "documents").to_pylist()
    texts = {document_id(source): text for source, text in corpus.items()}
    for name in SPLITS:
        runs_by_document = copies_in(out / name)
        own = {row["id"]: row["copies"] for row in documents if row["split"] == name}
        assert {identifier: len(runs) for identifier, runs in runs_by_document.items()} == own
        assert all(
            encoder.decode(np.array(run)) == texts[identifier]
            for identifier, runs in runs_by_document.items()
            for run in runs
        )
    again = [row for row in documents if row["copies"] > 1]
    assert {row["split"] for row in again} == {"train"}
    assert {slices_of("", row["bytes"])["length"] for row in again} == {"0-1 kB"}
    short = [row for row in documents if row["split"] == "train" and slices_of("", row["bytes"])["length"] == "0-1 kB"]
    assert 0.4 < len(again) / len(short) < 0.8
    report = weighted[1]
    assert report["repeated"] == {
        "documents": len(again),
        "copies": len(again),
        "tokens": sum(row["tokens"] for row in again),
    }
    assert report["weights"] == {"length": {"0-1 kB": 1.6}}
    assert {key: report[key] for key in ("documents", "tokens", "bytes")} == {
        key: packed[1][key] for key in ("documents", "tokens", "bytes")
    }
    assert report["rows"]["train"] == len(open_rows(out / "train")) > packed[1]["rows"]["train"]
    assert packed[1]["repeated"] == {"documents": 0, "copies": 0, "tokens": 0}


def test_what_judges_the_model_never_changes_and_training_rows_are_only_added(
    packed: tuple[Path, dict], weighted: tuple[Path, dict]
) -> None:
    even, weak = digest(packed[0]), digest(weighted[0])
    assert [path for path in even if even[path] != weak[path] and path.startswith(("validation", "test"))] == []
    assert any(even[path] != weak[path] for path in even if path.startswith("train"))
    for path in sorted((packed[0] / "train").iterdir()):
        before, after = (
            pa.ipc.open_stream(folder / "train" / path.name).read_all().to_pylist()
            for folder in (packed[0], weighted[0])
        )
        assert after[: len(before)] == before


def test_first_rows_hold_in_a_weighted_mixture_too(weighted: tuple[Path, dict]) -> None:
    test_documents_point_at_their_first_row(weighted)


def test_even_to_weak_to_even_gives_the_first_bytes_back_from_the_store(
    packed: tuple[Path, dict],
    weighted: tuple[Path, dict],
    deduped: Path,
    tokenizer: Path,
    promoted: Path,
    tmp_path: Path,
) -> None:
    def run(cfg: PackConfig, spots: Path) -> tuple[int, dict]:
        before = storing.work_counts["made"]
        pack(cfg, deduped, tokenizer, tmp_path / "out", Store(Cache(tmp_path / "cache"), "code"), spots)
        return storing.work_counts["made"] - before, digest(tmp_path / "out")

    nothing = tmp_path / "weak_spots.json"
    write_json(nothing, {})
    even = PackConfig(CONTEXT)
    assert run(even, nothing) == (4, digest(packed[0]))
    # An even mixture reads no weak spots, not even a broken file of them.
    assert run(even, promoted) == (0, digest(packed[0]))
    assert run(PackConfig(CONTEXT, max_weight=3.0), tmp_path / "none") == (0, digest(packed[0]))
    assert run(WEAK, nothing) == (0, digest(packed[0]))
    assert run(WEAK, promoted) == (4, digest(weighted[0]))
    other = tmp_path / "other.json"
    write_json(
        other,
        {
            "masked": [{"kind": "length", "slice": "0-1 kB", "ratio": 1.6, "documents": 99}],
            "feedback": [{"kind": "x", "slice": ""}],
        },
    )
    assert run(WEAK, other) == (0, digest(weighted[0]))  # the same weights
    assert run(even, promoted) == (0, digest(packed[0]))


def test_a_changed_document_of_a_weighted_mixture_rewrites_its_own_shard(
    weighted: tuple[Path, dict],
    corpus: dict[str, str],
    tokenizer: Path,
    promoted: Path,
    write: Callable,
    tmp_path: Path,
) -> None:
    source = next(iter(corpus))
    store = Store(Cache(tmp_path / "cache"), "code")
    pack(WEAK, write(tmp_path / "first", corpus), tokenizer, tmp_path / "out", store, promoted)
    changed = write(tmp_path / "in", corpus | {source: "the house"})
    pack(WEAK, changed, tokenizer, tmp_path / "out", store, promoted)
    pack(WEAK, changed, tokenizer, tmp_path / "clean", NO_STORE, promoted)
    assert digest(tmp_path / "out") == digest(tmp_path / "clean")
    before, shard = digest(weighted[0]), f"{shard_of(document_id(source), 2):05d}"
    assert {
        path.rpartition("/")[2].partition(".")[0] for path in before if before[path] != digest(tmp_path / "out")[path]
    } == {shard}


@pytest.mark.parametrize("wrong", [{"context": 4}, {"mixture": "odd"}, {"max_weight": 0.5}])
def test_a_knob_out_of_range_is_named(wrong: dict) -> None:
    with pytest.raises(UserError, match=rf"pack\.{next(iter(wrong))}"):
        PackConfig(**wrong)


@pytest.mark.parametrize(
    ("knob", "good", "bad"),
    [
        ("context", (8, 65_536), (7, 65_537)),
        ("mixture", ("even", "from-weak-spots"), ("", "Even")),
        ("max_weight", (1.0, 10.0), (0.999, 10.001, float("nan"))),
    ],
)
def test_knobs_have_ends(knob: str, good: tuple, bad: tuple) -> None:
    for value in good:
        assert getattr(PackConfig(**{knob: value}), knob) == value
    for value in bad:
        with pytest.raises(UserError, match=rf"pack\.{knob}"):
            PackConfig(**{knob: value})
    assert vars(PackConfig()) == {"context": 256, "mixture": "even", "max_weight": 2.0}


def test_documents_keep_what_the_next_training_knows_them_by(
    packed: tuple[Path, dict], corpus: dict[str, str], tokenizer: Path
) -> None:
    encoder, texts = Encoder.open(tokenizer), {document_id(source): text for source, text in corpus.items()}
    rows = read_folder(packed[0] / "documents").to_pylist()
    assert [row["id"] for row in rows] == sorted(texts)
    for row in rows:
        text = texts[row["id"]]
        assert row["digest"] == hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        assert (row["bytes"], row["tokens"], row["copies"]) == (len(text.encode()), len(encoder.encode([text])[0]), 1)


@pytest.mark.parametrize("empty", SPLITS)
def test_each_split_that_is_left_empty_is_named(empty: str) -> None:
    counts = {name: 0 if name == empty else 5 for name in SPLITS}
    with pytest.raises(UserError, match=rf"of 15 documents, {empty} got none with text.*`split\.test`"):
        _require_every_split(dict.fromkeys(SPLITS, 5), counts)
    _require_every_split(dict.fromkeys(SPLITS, 5), dict.fromkeys(SPLITS, 1))
