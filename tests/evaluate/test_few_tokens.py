"""A held-out part in which hardly anything can be scored: what there is has figures, nothing at all is said."""

import pytest

from privllm.core.errors import UserError
from privllm.evaluate.config import EvaluateConfig
from privllm.evaluate.recipe import Measured, _figures
from privllm.evaluate.slices import Tally

CONFIG = EvaluateConfig(bootstrap=0)


def test_a_slice_whose_tokens_have_no_bytes_has_no_figures() -> None:
    """Tokens that stand for no text, such as those of control."""
    cells = {
        ("all", "all"): {"a": Tally(2, 6, 3.0, 1)},
        ("by_pos", "NOUN"): {"a": Tally(2, 6, 3.0, 1)},
        ("by_pos", "X"): {"a": Tally(1, 0, 0.5, 0)},
    }
    report = _figures(CONFIG, "causal", Measured([], cells, cells), 0)
    assert list(report["by_pos"]) == ["NOUN"]
    assert report["bits_per_byte"] == pytest.approx(3.0 / 6 / 0.693147, rel=1e-5)


def test_nothing_to_score_is_said() -> None:
    nothing = {("all", "all"): {"a": Tally(1, 0, 0.5, 0)}}
    for cells in (nothing, {}):
        with pytest.raises(UserError, match=r"`split\.test`"):
            _figures(CONFIG, "causal", Measured([], cells, cells), 0)


def test_a_document_without_a_clean_byte_counts_nowhere_in_clean() -> None:
    every = {f"d{i:02}": Tally(10, 40, 20.0 + i, 1) for i in range(12)}
    clean = {name: sums for name, sums in every.items() if name > "d05"} | {"d00": Tally(1, 0, 2.0, 0)}
    report = _figures(CONFIG, "masked", Measured([], {("all", "all"): every}, {("all", "all"): clean}), 3)
    assert (report["documents"], report["clean_documents"], report["left_out"]) == (12, 6, 3)
    assert report["pseudo_bits_clean"] == pytest.approx(sum(26.0 + i for i in range(6)) / 240 / 0.693147, rel=1e-5)
    assert "interval" in report
    assert "clean_interval" not in report, "six documents are too few"


def test_where_all_was_copied_there_is_no_clean_figure() -> None:
    every = {("all", "all"): {"a": Tally(2, 6, 3.0, 1)}}
    report = _figures(CONFIG, "causal", Measured([], every, {}), 0)
    assert (report["clean_documents"], report["clean_bytes"], report["weak_spots"]) == (0, 0, [])
    assert "bits_per_byte_clean" not in report
