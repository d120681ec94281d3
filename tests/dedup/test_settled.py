"""What was settled once is known by the texts, in either order, and what is no longer asked for is forgotten."""

from pathlib import Path

import numpy as np

from privllm.dedup.settled import Settled


def pairs(*both: tuple[int, int]) -> np.ndarray:
    return np.array(both, np.int64).reshape(-1, 2).T


def test_pairs_are_known_by_their_texts_in_either_order(tmp_path: Path) -> None:
    first = Settled(tmp_path / "note", ["a", "b", "c"])
    assert np.isnan(first.of(pairs((0, 1), (1, 2)))).all()
    first.learn(pairs((0, 1), (1, 2)), np.array([0.25, 0.75]))
    first.save()
    second = Settled(tmp_path / "note", ["c", "x", "b"])
    known = second.of(pairs((0, 2), (0, 1)))
    assert known[0] == 0.75
    assert np.isnan(known[1])
    second.save()
    assert np.isnan(Settled(tmp_path / "note", ["a", "b"]).of(pairs((0, 1)))).all()


def test_a_spoilt_note_is_no_note(tmp_path: Path) -> None:
    (tmp_path / "note").write_bytes(b"ARROW1 spoilt")
    settled = Settled(tmp_path / "note", ["a", "b"])
    assert np.isnan(settled.of(pairs((0, 1)))).all()
    assert settled.of(pairs()).shape == (0,)


def test_without_a_note_nothing_is_written(tmp_path: Path) -> None:
    Settled(None, ["a"]).save()
    assert not list(tmp_path.iterdir())
