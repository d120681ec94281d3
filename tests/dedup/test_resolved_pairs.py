"""What was settled once is known by the texts, in either order, and what is no longer asked for is forgotten."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from privllm.dedup.resolved_pairs import ResolvedPairs


def pairs(*both: tuple[int, int]) -> np.ndarray:
    return np.array(both, np.int64).reshape(-1, 2).T


def test_pairs_are_known_by_their_texts_in_either_order(tmp_path: Path) -> None:
    first = ResolvedPairs(tmp_path / "note", pa.array(["a", "b", "c"]))
    assert np.isnan(first.look_up(pairs((0, 1), (1, 2)))).all()
    first.add(pairs((0, 1), (1, 2)), np.array([0.25, 0.75]))
    first.save()
    second = ResolvedPairs(tmp_path / "note", pa.array(["c", "x", "b"]))
    similarities = second.look_up(pairs((0, 2), (0, 1)))
    assert similarities[0] == 0.75
    assert np.isnan(similarities[1])
    second.save()
    assert np.isnan(ResolvedPairs(tmp_path / "note", pa.array(["a", "b"])).look_up(pairs((0, 1)))).all()


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=20),
    st.permutations("abcdef"),
    st.permutations("abcdef"),
)
def test_as_a_dictionary_would(asked: list[tuple[int, int]], before: list[str], now: list[str]) -> None:
    """What is learnt of some texts is known of the same texts when they stand in other rows."""
    similarity_of = {frozenset((before[a], before[b])): a * b / 25 for a, b in asked}
    with TemporaryDirectory() as folder:
        first = ResolvedPairs(Path(folder, "note"), pa.array(before))
        for a, b in asked:
            first.add(pairs((a, b)), np.array([a * b / 25]))
        first.save()
        every = [(a, b) for a in range(6) for b in range(6)]
        values = ResolvedPairs(Path(folder, "note"), pa.array(now)).look_up(pairs(*every))
    assert [None if np.isnan(value) else value for value in values] == [
        similarity_of.get(frozenset((now[a], now[b]))) for a, b in every
    ]


def test_rows_with_equal_texts_are_known_by_the_first(tmp_path: Path) -> None:
    first = ResolvedPairs(tmp_path / "note", pa.array(["a", "a", "b", "b"]))
    first.add(pairs((0, 2)), np.array([0.5]))
    first.save()
    assert ResolvedPairs(tmp_path / "note", pa.array(["b", "a", "a", "b"])).look_up(pairs((0, 1))).tolist() == [0.5]


def test_a_spoilt_note_is_no_note(tmp_path: Path) -> None:
    (tmp_path / "note").write_bytes(b"ARROW1 spoilt")
    resolved = ResolvedPairs(tmp_path / "note", pa.array(["a", "b"]))
    assert np.isnan(resolved.look_up(pairs((0, 1)))).all()
    assert resolved.look_up(pairs()).shape == (0,)


def test_without_a_note_nothing_is_written(tmp_path: Path) -> None:
    ResolvedPairs(None, pa.array(["a"])).save()
    assert not list(tmp_path.iterdir())
