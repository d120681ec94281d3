"""General text: which of it is read and which only measures, and rows in which nothing is learnt where a text was cut off."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa

from privllm.core.records import ROWS
from privllm.core.special_tokens import own_ids
from privllm.core.tables import read_table
from privllm.tokens.general_text import (
    FILE,
    GENERAL,
    MEASURED,
    READ,
    NewText,
    ReplayConfig,
    first_place,
    general_rows,
    read_general,
    write_general,
)
from privllm.tokens.pack import pack_rows
from privllm.tokens.rows import Rows

CONTEXT, UNLEARNT = 32, -100
SPECIAL = own_ids(500)


def texts(count: int, first: int = 0, length: int = 12) -> list[NewText]:
    return [NewText([first, *range(10 + number, 10 + number + length)]) for number in range(count)]


def rows_behind_others(start: Path) -> tuple[Rows, np.ndarray]:
    """Return the rows of general text behind as many others, and their places."""
    general = general_rows(start, CONTEXT, SPECIAL)
    assert general is not None
    return general.followed_by(general), np.arange(len(general), 2 * len(general))


def test_each_text_is_for_one_use_and_stands_once(tmp_path: Path) -> None:
    cfg = ReplayConfig(measured=0.3, most_measured=20)
    counts = write_general(
        cfg, [*texts(200), *texts(200), NewText([0, 1, 2]), NewText(list(range(20)), given=15)], tmp_path / FILE
    )
    table = read_table(tmp_path / FILE)
    assert table.schema == GENERAL
    assert table["id"].to_pylist() == sorted(set(table["id"].to_pylist()))
    assert counts["measured"] == 20, "more are left out, and not read either"
    assert 120 <= counts["read"] <= 160
    assert counts["tokens_read"] == 12 * counts["read"]
    read, measured = (read_general(tmp_path, use) for use in (READ, MEASURED))
    assert (len(read), len(measured)) == (counts["read"], 20)
    whole = {tuple(text.tokens) for text in texts(200)}
    assert {tuple(text.tokens.tolist()) for text in read + measured} <= whole


def test_a_text_keeps_its_use_whatever_comes_beside_it(tmp_path: Path) -> None:
    cfg = ReplayConfig(measured=0.5, most_measured=1000)
    write_general(cfg, texts(40), tmp_path / "a" / FILE)
    write_general(cfg, texts(80)[::-1], tmp_path / "b" / FILE)
    before = {text.id for text in read_general(tmp_path / "a", MEASURED)}
    after = {text.id for text in read_general(tmp_path / "b", MEASURED)}
    assert before < after
    write_general(ReplayConfig(measured=0.5, most_measured=1000, seed=1), texts(40), tmp_path / "c" / FILE)
    assert {text.id for text in read_general(tmp_path / "c", MEASURED)} != before


def test_without_a_file_there_is_nothing(tmp_path: Path) -> None:
    assert read_general(tmp_path, READ) == []
    assert general_rows(tmp_path, CONTEXT, SPECIAL) is None


def test_rows_hold_every_token_as_a_label_once_and_no_end_that_is_not_there(tmp_path: Path) -> None:
    """Two kinds of texts by what stands first; one of those holds an end, which is learnt as any token is."""
    ended = [NewText([0, *range(300, 310), SPECIAL.end])]
    everything = [*texts(9), *texts(5, first=7, length=20), *ended]
    write_general(ReplayConfig(measured=0.05, most_measured=1000), everything, tmp_path / FILE)
    rows, appended = rows_behind_others(tmp_path)
    inputs, positions, labels = rows.training_rows(appended, SPECIAL, UNLEARNT)
    read = read_general(tmp_path, READ)
    learnt = sorted(labels[labels != UNLEARNT].tolist())
    assert learnt == sorted(int(token) for text in read for token in text.tokens[1:])
    firsts = [int(token) for token in inputs[(positions == 0) & (labels != UNLEARNT)]]
    expected = Counter(int(text.tokens[0]) for text in read)
    assert not expected - Counter(firsts), "a text that fills a row goes on in another, and begins once"
    ends = labels == SPECIAL.end
    assert int(ends.sum()) == sum(int(SPECIAL.end in text.tokens[1:]) for text in read)


def test_what_was_given_is_read_and_not_learnt(tmp_path: Path) -> None:
    """A part of it may stand in a row and the rest in the next; texts without are learnt from their second token on."""
    given = 9
    everything = [NewText([7, *range(10 + number, 120 + number)], given) for number in range(6)] + texts(5)
    write_general(ReplayConfig(measured=0.05, most_measured=1000), everything, tmp_path / FILE)
    rows, appended = rows_behind_others(tmp_path)
    inputs, _, labels = rows.training_rows(appended, SPECIAL, UNLEARNT)
    read = read_general(tmp_path, READ)
    assert sum(text.given == given for text in read) > 2
    expected = [int(token) for text in read for token in text.tokens[text.given :]]
    assert sorted(labels[labels != UNLEARNT].tolist()) == sorted(expected)
    assert (inputs != SPECIAL.pad).sum() > len(expected), "it is read"
    assert {rows.run_of(index) for index in appended.tolist()} == {None}, "and never cut elsewhere"


def test_documents_before_them_still_end(tmp_path: Path) -> None:
    ids = pa.array([str(number) for number in range(12)], pa.string())
    packed = pack_rows([np.array(text.tokens[1:], np.int32) for text in texts(12)], ids, CONTEXT, SPECIAL)
    table = pa.Table.from_arrays([packed.input_ids, packed.pieces], schema=ROWS)
    documents = Rows(table.to_batches(), CONTEXT + 1)
    write_general(ReplayConfig(measured=0.05), texts(12), tmp_path / FILE)
    general = general_rows(tmp_path, CONTEXT, SPECIAL)
    assert general is not None
    both = documents.followed_by(general)
    assert len(both) == len(documents) + len(general)
    alone = documents.training_rows(np.arange(len(documents)), SPECIAL, UNLEARNT)
    beside = both.training_rows(np.arange(len(documents)), SPECIAL, UNLEARNT)
    for before, after in zip(alone, beside, strict=True):
        np.testing.assert_array_equal(before, after)
    assert (alone.labels == SPECIAL.end).sum() == 12
    for index in range(len(general)):
        assert both.tokens(index + len(documents)).tolist() == general.tokens(index).tolist()
        assert both.pieces(index + len(documents)) == general.pieces(index)


def test_the_first_place() -> None:
    assert [first_place([1, 2, 3, 2, 3], part) for part in ([2, 3], [1], [3, 1], [4])] == [1, 0, -1, -1]
