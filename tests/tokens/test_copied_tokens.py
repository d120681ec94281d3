"""Copied tokens against the bytes of each single token, in documents and in packed rows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.core.errors import UserError
from privllm.core.records import COPIED_RUNS, document_id, shard_name, shard_of
from privllm.core.split import SplitConfig, split_of
from privllm.core.tables import read_folder, write_table
from privllm.tokens.copied_tokens import COPIED_TOKENS, CopiedTokens, open_copied, tokens_of, write_copied_tokens
from privllm.tokens.encode import Encoder
from privllm.tokens.pack import PackConfig, pack
from privllm.tokens.rows import open_rows

CONTEXT = 16


@given(st.lists(st.integers(1, 4), min_size=1, max_size=12), st.data())
def test_a_token_is_copied_if_any_of_its_bytes_is(sizes: list[int], data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, sum(sizes) - 1))
    end = data.draw(st.integers(begin + 1, sum(sizes)))
    owners = [token for token, size in enumerate(sizes) for _ in range(size)]
    copied = sorted(set(owners[begin:end]))
    first, last = tokens_of(np.cumsum(sizes), begin, end)
    assert list(range(first, last)) == copied


def test_all_tokens_of_a_copied_character_are_copied() -> None:
    """Of "a½b" in pieces a, 1, /, 2, b the three in the middle are the two bytes of one character."""
    ends = np.cumsum([1, 2, 0, 0, 1])
    assert tokens_of(ends, 1, 3) == (1, 4)
    assert tokens_of(ends, 3, 4) == (4, 5)
    assert tokens_of(ends, 0, 1) == (0, 1)
    assert tokens_of(np.cumsum([0, 2, 0]), 0, 2) == (0, 3), "a blank that sentencepiece puts before a text"
    assert tokens_of(np.cumsum([]), 0, 5) == (0, 0), "of characters that a vocabulary drops"


Marked = tuple[Path, Path, dict[str, set[int]]]


@pytest.fixture(scope="module")
def marked(
    write: Callable[..., Path],
    corpus: dict[str, str],
    tokenizer: Path,
    split: SplitConfig,
    tmp_path_factory: pytest.TempPathFactory,
) -> Marked:
    """A corpus of which every held-out document has copied runs: its folder, the packed one, and {id: copied tokens}."""
    deduped, packed = tmp_path_factory.mktemp("deduped"), tmp_path_factory.mktemp("packed")
    write(deduped, corpus)
    encoder = Encoder.open(tokenizer)
    rows, expected = [], {}
    for source, text in sorted(corpus.items(), key=lambda item: document_id(item[0])):
        identifier, byte_count = document_id(source), len(text.encode())
        if split_of(split, identifier) == "train":
            continue
        spans = [
            (3, byte_count // 3),
            (byte_count // 2, byte_count - 6),
            (byte_count - 5, byte_count - 4),
        ]  # in <EMAIL>
        rows += [{"id": identifier, "begin": begin, "end": end} for begin, end in spans]
        bytes_copied = {place for span in spans for place in range(*span)}
        ends = np.cumsum(encoder.byte_sizes(encoder.encode([text])[0])).tolist()
        starts = [0, *ends[:-1]]
        expected[identifier] = {
            token for token, bounds in enumerate(zip(starts, ends, strict=True)) if bytes_copied & set(range(*bounds))
        }
    for shard in range(4):
        of_shard = [row for row in rows if shard_of(row["id"], 2) == shard]
        write_table(pa.Table.from_pylist(of_shard, COPIED_RUNS), deduped / "copied" / shard_name(shard))
    pack(PackConfig(CONTEXT), deduped, tokenizer, packed)
    write_copied_tokens(deduped, tokenizer, packed / "copied")
    return deduped, packed, expected


def test_tokens_are_those_with_a_copied_byte(marked: Marked) -> None:
    _, packed, expected = marked
    table = read_folder(packed / "copied")
    assert table.schema.equals(COPIED_TOKENS)
    found: dict[str, set[int]] = {}
    for row in table.to_pylist():
        found.setdefault(row["id"], set()).update(range(row["begin"], row["end"]))
    assert found == expected
    assert len(expected) > 20


@pytest.mark.parametrize("split_name", ["validation", "test"])
def test_rows_have_each_copied_token_once(marked: Marked, split_name: str) -> None:
    _, packed, expected = marked
    copied, rows = open_copied(packed / "copied"), open_rows(packed / split_name)
    found: dict[str, set[int]] = {}
    copied_count = token_count = 0
    for index in range(len(rows)):
        pieces, tokens = rows.pieces(index), rows.tokens(index)
        is_copied = copied.in_row(pieces, len(tokens))
        copied_count, token_count = copied_count + int(is_copied.sum()), token_count + len(tokens)
        for piece in pieces:
            places = np.flatnonzero(is_copied[piece["row_start"] : piece["row_start"] + piece["tokens"]])
            found.setdefault(piece["id"], set()).update((places + piece["document_start"]).tolist())
    assert found == {identifier: expected[identifier] for identifier in found}
    assert len(found) > 10
    assert copied.share_of(rows) == pytest.approx(copied_count / token_count)


def test_a_piece_takes_its_own_part_of_a_run() -> None:
    table = pa.Table.from_pylist(
        [{"id": "a", "begin": 4, "end": 7}, {"id": "a", "begin": 20, "end": 21}], COPIED_TOKENS
    )
    pieces = [{"id": "b", "row_start": 1, "document_start": 0, "tokens": 2}]
    pieces.append({"id": "a", "row_start": 4, "document_start": 6, "tokens": 4})
    assert np.flatnonzero(CopiedTokens(table).in_row(pieces, 9)).tolist() == [
        3,
        4,
    ]  # the token before the piece, and its first
    earlier = [{"id": "a", "row_start": 1, "document_start": 0, "tokens": 3}]
    assert not CopiedTokens(table).in_row(earlier, 9).any()


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run `dvc repro pack`"):
        open_copied(tmp_path)
