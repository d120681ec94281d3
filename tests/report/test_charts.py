import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.core.printable import printable
from privllm.report.charts import bar_chart, loss_chart, read_curve, short_number, thin, ticks
from tests.hostile import WORDS, obeyed

TRAIN, VALIDATION = [(float(i), 5 - i / 100) for i in range(1, 400)], [(100.0, 4.2), (200.0, 3.4)]


def drawn() -> list[str]:
    return [
        loss_chart(TRAIN, VALIDATION, 1024),
        loss_chart(TRAIN, [], None),
        bar_chart({"NOUN": 0.5, "VERB": 0.25}, "accuracy", ".0%"),
    ]


def test_well_formed_themed_and_self_contained() -> None:
    for svg in drawn():
        ElementTree.fromstring(svg)
        assert not re.search(r"#[0-9a-f]{3}|rgb", svg), "a colour that would not follow the theme"
        assert "var(--ink)" in svg
        assert not re.search(r"<script|<image|<style|href=|https?://(?!www\.w3\.org/)", svg)


def test_same_bytes_in_one_process() -> None:
    assert drawn() == drawn()


def test_two_on_one_page_share_no_identifier() -> None:
    assert not re.search(r"\bid=|url\(#", "".join(drawn()))


def test_a_reader_of_the_screen_hears_the_figures() -> None:
    loss, _, bars = map(ElementTree.fromstring, drawn())
    assert loss.get("role") == bars.get("role") == "img"
    assert loss[0].tag.endswith("title")
    assert loss[0].text == "Loss in nats per token against tokens seen; at the end: training 1.01, validation 3.4"
    assert bars[0].text == "accuracy: NOUN 50%, VERB 25%"


def test_names_from_the_corpus_cannot_inject() -> None:
    svg = bar_chart({"<b>&\"'": 1.0, "plain": 2.0}, "x", ".2f")
    assert "<b>" not in svg
    ElementTree.fromstring(svg)


@pytest.mark.parametrize("word", WORDS)
def test_no_name_is_obeyed(word: str) -> None:
    svg = bar_chart({word: 1.0, "plain": 2.0}, "x", ".2f")
    ElementTree.fromstring(svg)
    assert not obeyed(svg)
    assert printable(word) in svg


def test_a_long_name_is_shortened_and_said_in_full() -> None:
    name = "manuals/a-long-folder/part.jsonl"
    svg = bar_chart({name: 1.0, "plain": 2.0}, "x", ".2f")
    assert ">manuals/a…rt.jsonl</text>" in svg
    assert f"<title>{name}: 1.00</title>" in svg


def test_bars_are_as_long_as_their_values() -> None:
    widths = [
        float(width)
        for width in re.findall(r'<rect [^>]*width="([\d.]+)"', bar_chart({"a": 4.0, "b": 1.0}, "x", ".0f"))
    ]
    assert widths[0] == pytest.approx(4 * widths[1], rel=0.001)


def test_points_lie_where_the_axes_say() -> None:
    """The place of a point, read off by the ticks beside it, is its value."""
    svg = ElementTree.fromstring(loss_chart([(0.0, 4.0), (30.0, 3.0), (100.0, 2.0)], [], 1000.0))
    texts = [
        (element.text, float(element.get("x")), float(element.get("y")))
        for element in svg
        if element.tag.endswith("text")
    ]
    across = {label: x for label, x, y in texts if label in ("0", "100k")}
    down = {float(label): y - 4 for label, _, y in texts if re.fullmatch(r"\d\.\d", label)}
    curve = next(
        element for element in svg if element.tag.endswith("polyline") and len(element.get("points").split()) == 3
    )
    seen = [tuple(map(float, pair.split(","))) for pair in curve.get("points").split()]
    (low, low_at), (high, high_at) = min(down.items()), max(down.items())
    losses = [low + (high - low) * (y - low_at) / (high_at - low_at) for _, y in seen]
    tokens = [100_000 * (x - across["0"]) / (across["100k"] - across["0"]) for x, _ in seen]
    assert losses == pytest.approx([4.0, 3.0, 2.0], abs=0.01)
    assert tokens == pytest.approx([0, 30_000, 100_000], abs=100)


@given(st.floats(-1e6, 1e6), st.floats(1e-4, 1e9), st.integers(4, 6))
def test_ticks_are_round_few_and_inside(low: float, width: float, count: int) -> None:
    high = low + width
    found = ticks(low, high, count)
    step = found[1] - found[0]
    assert 2 <= len(found) <= 2 * count + 1
    assert low - width * 1e-6 <= found[0] <= found[-1] <= high + width * 1e-6
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-6)
    assert min(abs(mantissa - round_number) for round_number in (1, 2, 5)) < 1e-3


@pytest.mark.parametrize(
    ("value", "step", "shown"),
    [
        (0.0, 500.0, "0"),
        (500.0, 500.0, "500"),
        (1000.0, 500.0, "1k"),
        (1500.0, 500.0, "1.5k"),
        (2e6, 5e5, "2M"),
        (3e9, 1e9, "3B"),
        (100_000.0, 50_000.0, "100k"),
        (1e13, 1e13, "10T"),
    ],
)
def test_numbers_of_an_axis(value: float, step: float, shown: str) -> None:
    assert short_number(value, step) == shown


def test_labels_and_series_are_there() -> None:
    assert all(word in loss_chart(TRAIN, VALIDATION, 1024) for word in ("training", "validation", "tokens seen"))
    assert "validation" not in loss_chart(TRAIN, [], None)
    assert all(word in drawn()[2] for word in ("NOUN", "50%", "25%"))


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 20)), max_size=200), st.integers(1, 50))
def test_thin_keeps_the_end_and_the_range(points: list, limit: int) -> None:
    few = thin(points, limit)
    assert len(few) <= limit
    if points:
        assert few[-1][0] == points[-1][0]
        values = [y for _, y in points]
        assert all(min(values) - 1e-9 <= y <= max(values) + 1e-9 for _, y in few)


def test_thin_takes_means() -> None:
    assert thin([(1, 2.0), (2, 4.0), (3, 6.0)], 2) == [(2, 3.0), (3, 6.0)]


def test_read_curve(tmp_path: Path) -> None:
    path = tmp_path / "loss.tsv"
    assert read_curve(path) == []
    path.write_text("loss\tstep\n3.5\t10\n3.0\t20\n")
    assert read_curve(path) == [(10.0, 3.5), (20.0, 3.0)]
    path.write_text("x\ty\n1\t2\n")
    assert read_curve(path) == []


@pytest.mark.parametrize("points", [[], [(0.0, 0.0)], [(10.0, 3.0)], [(10.0, 3.0), (20.0, 3.0)]])
def test_few_points_do_no_harm(points: list) -> None:
    ElementTree.fromstring(loss_chart(points, [], 1024))


@pytest.mark.parametrize("values", [{}, {"only": 0.0}])
def test_few_bars_do_no_harm(values: dict) -> None:
    ElementTree.fromstring(bar_chart(values, "x", ".2f"))
