"""A held-out part in which hardly anything can be scored: what there is has figures, nothing at all is said."""

import pytest

from privllm.core.errors import UserError
from privllm.evaluate.config import EvaluateConfig
from privllm.evaluate.recipe import _figures
from privllm.evaluate.slices import Tally

CONFIG = EvaluateConfig(bootstrap=0)
SCORES = [{"nats": 3.0, "bytes": 6}]


def test_a_slice_whose_tokens_have_no_bytes_has_no_figures() -> None:
    """Tokens that stand for no text, such as those of control."""
    cells = {
        ("all", "all"): {"a": Tally(2, 6, 3.0, 1)},
        ("by_pos", "NOUN"): {"a": Tally(2, 6, 3.0, 1)},
        ("by_pos", "X"): {"a": Tally(1, 0, 0.5, 0)},
    }
    report = _figures(CONFIG, cells, SCORES, 1)
    assert list(report["by_pos"]) == ["NOUN"]
    assert report["bits_per_byte"] == pytest.approx(3.0 / 6 / 0.693147, rel=1e-5)


def test_nothing_to_score_is_said() -> None:
    with pytest.raises(UserError, match=r"raise `split\.test`"):
        _figures(CONFIG, {("all", "all"): {"a": Tally(1, 0, 0.5, 0)}}, SCORES, 1)
