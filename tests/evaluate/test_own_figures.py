"""What the gate judges without an incumbent."""

from pathlib import Path

from privllm.core.report import write_json
from privllm.evaluate.own_figures import own_figures
from privllm.evaluate.rules import FIGURES

LEAKS = {
    "texts": 20,
    "copied_runs": 0.3,
    "copied_runs_interval": [0.2, 0.4],
    "personal_data": 0.0,
    "personal_data_interval": None,
}


def test_the_base_is_one_and_nothing_is_nothing(tmp_path: Path) -> None:
    write_json(
        tmp_path / "causal" / FIGURES,
        {"general_text": {"change": 0.015, "interval": [0.01, 0.02], "texts": 40}, "leaks": LEAKS},
    )
    write_json(tmp_path / "masked" / FIGURES, {})
    (tmp_path / "seq2seq").mkdir()
    figures = own_figures(tmp_path)
    assert [*figures] == ["causal.general_text", "causal.copied_runs", "causal.personal_data"]
    assert [figure.difference for figure in figures.values()] == [0.015, 0.3, 0.0]
    assert [figure.interval for figure in figures.values()] == [(0.01, 0.02), (0.2, 0.4), None]
    assert [figure.against for figure in figures.values()] == ["its base", "nothing", "nothing"]
    assert figures["causal.general_text"].plain()["against"] == "its base"
