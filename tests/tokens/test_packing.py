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
from privllm.core.split import SPLITS, SplitConfig, split_of
from privllm.core.tables import read_folder
from privllm.tokens.encoding import Encoder
from privllm.tokens.packing import PACKED, PackConfig, cut, join, pack, pieces_of
from privllm.tokens.rows import open_rows

DOCUMENTS = st.lists(st.lists(st.integers(1, 99), max_size=30), max_size=8)
CONTEXT = 16


def obvious(documents: list[list[int]], context: int) -> tuple[list[list[int]], list[list[tuple]]]:
    """Rows and pieces, one token at a time."""
    stream: list[tuple] = [
        entry for name, tokens in enumerate(documents) for entry in [(0, None, None), *((t, name, i) for i, t in enumerate(tokens))]
    ]
    stream += [(0, None, None)] if documents else []
    rows, pieces = [], []
    for start in range(0, len(stream) - 1, context):
        row = stream[start : start + context + 1]
        found: dict[int, list[int]] = {}
        for place, (_, name, i) in enumerate(row):
            if place > 0 and name is not None:
                found.setdefault(name, [place, i, 0])[2] += 1
        rows.append([token for token, _, _ in row])
        pieces.append([(f"d{name}", *piece) for name, piece in found.items()])
    return rows, pieces


@given(documents=DOCUMENTS, context=st.integers(1, 12))
def test_rows_and_pieces_are_those_of_the_obvious_implementation(documents: list[list[int]], context: int) -> None:
    stream = join([np.array(tokens, np.int32) for tokens in documents])
    ids = pa.array([f"d{i}" for i in range(len(documents))], pa.string())
    rows, pieces = obvious(documents, context)
    assert cut(stream.tokens, context).to_pylist() == rows
    assert [[tuple(piece.values()) for piece in row] for row in pieces_of(stream, ids, context).to_pylist()] == pieces


@given(documents=DOCUMENTS, context=st.integers(1, 12))
def test_every_token_is_a_label_once_and_pieces_give_documents_back(documents: list[list[int]], context: int) -> None:
    stream = join([np.array(tokens, np.int32) for tokens in documents])
    rows = cut(stream.tokens, context).to_pylist()
    ids = pa.array([str(i) for i in range(len(documents))], pa.string())
    assert [token for row in rows for token in row[1:]] == stream.tokens[1:].tolist()
    back: dict[str, list[int]] = {str(i): [] for i in range(len(documents))}
    for row, pieces in zip(rows, pieces_of(stream, ids, context).to_pylist(), strict=True):
        for piece in pieces:
            assert piece["document_start"] == len(back[piece["id"]])
            back[piece["id"]] += row[piece["row_start"] : piece["row_start"] + piece["tokens"]]
    assert list(back.values()) == documents


@pytest.fixture(scope="module")
def packed(deduped: Path, tokenizer: Path, split: SplitConfig, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("pack")
    return out, pack(PackConfig(CONTEXT), split, deduped, tokenizer, out)


def digest(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_every_document_lies_in_its_split(packed: tuple[Path, dict], corpus: dict[str, str], tokenizer: Path, split: SplitConfig) -> None:
    out, _ = packed
    encoder = Encoder.open(tokenizer)
    back: dict[str, dict[str, list[int]]] = {name: {} for name in SPLITS}
    for name in SPLITS:
        rows = open_rows(out / name)
        for i in range(len(rows)):
            for piece in rows.pieces(i):
                tokens = rows.tokens(i)[piece["row_start"] : piece["row_start"] + piece["tokens"]]
                back[name].setdefault(piece["id"], []).extend(tokens.tolist())
    for source, text in corpus.items():
        identifier = document_id(source)
        assert encoder.decode(np.array(back[split_of(split, identifier)][identifier])) == text
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


def test_documents_point_at_their_first_row(packed: tuple[Path, dict]) -> None:
    out, _ = packed
    for row in read_folder(out / "documents").to_pylist():
        shard = out / row["split"] / f"{shard_of(row['id'], 2):05d}.arrow"
        pieces = pa.ipc.open_stream(shard).read_all()["pieces"].to_pylist()
        places = [i for i, row_pieces in enumerate(pieces) if any(piece["id"] == row["id"] for piece in row_pieces)]
        assert places[0] == row["first_row"]


def test_same_bytes_again(packed: tuple[Path, dict], deduped: Path, tokenizer: Path, split: SplitConfig, tmp_path: Path) -> None:
    assert pack(PackConfig(CONTEXT), split, deduped, tokenizer, tmp_path) == packed[1]
    assert digest(tmp_path) == digest(packed[0])


def test_a_changed_document_rewrites_its_own_split_of_its_own_shard(
    packed: tuple[Path, dict], corpus: dict[str, str], tokenizer: Path, split: SplitConfig, write: Callable[..., Path], tmp_path: Path
) -> None:
    source = next(iter(corpus))
    pack(PackConfig(CONTEXT), split, write(tmp_path / "in", corpus | {source: "the house"}), tokenizer, tmp_path / "out")
    before, after = digest(packed[0]), digest(tmp_path / "out")
    shard = shard_of(document_id(source), 2)
    name = split_of(split, document_id(source))
    assert {path for path in before if before[path] != after[path]} == {f"{name}/{shard:05d}.arrow", f"documents/{shard:05d}.parquet"}


def test_a_shard_without_documents_still_has_its_files(
    corpus: dict[str, str], tokenizer: Path, split: SplitConfig, write: Callable[..., Path], tmp_path: Path
) -> None:
    sources = [source for source in corpus if shard_of(document_id(source), 2) != 3]
    pack(PackConfig(CONTEXT), split, write(tmp_path / "in", {s: corpus[s] for s in sources}), tokenizer, tmp_path / "out")
    for name in SPLITS:
        assert [path.name for path in sorted((tmp_path / "out" / name).iterdir())] == [f"{i:05d}.arrow" for i in range(4)]
        assert pa.ipc.open_stream(tmp_path / "out" / name / "00003.arrow").read_all().num_rows == 0


def test_order_within_a_shard_does_not_matter(
    packed: tuple[Path, dict], corpus: dict[str, str], tokenizer: Path, split: SplitConfig, write: Callable[..., Path], tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    source = write(tmp_path / "in", corpus)
    for path in source.iterdir():
        pq.write_table(pq.read_table(path).sort_by([("text", "descending")]), path)
    pack(PackConfig(CONTEXT), split, source, tokenizer, tmp_path / "out")
    assert digest(tmp_path / "out") == digest(packed[0])


def test_too_small_to_split(tokenizer: Path, write: Callable[..., Path], tmp_path: Path) -> None:
    source = write(tmp_path / "in", {"a.txt": "the house", "b.txt": "the lake"})
    with pytest.raises(UserError, match=r"of 2 documents, .*got none.*split\.validation.*Add documents"):
        pack(PackConfig(CONTEXT), SplitConfig(0.0, 0.01), source, tokenizer, tmp_path / "out")


def test_documents_without_text_do_not_make_a_split(
    tokenizer: Path, split: SplitConfig, write: Callable[..., Path], tmp_path: Path
) -> None:
    source = write(tmp_path / "in", {f"{n}.txt": "" for n in range(50)})
    with pytest.raises(UserError, match="of 50 documents, train and validation and test got none with text"):
        pack(PackConfig(CONTEXT), split, source, tokenizer, tmp_path / "out")


def test_context_out_of_range() -> None:
    with pytest.raises(UserError, match=r"pack\.context"):
        PackConfig(4)
