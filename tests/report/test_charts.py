import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.core.printable import printable
from privllm.report.charts import VARIABLES, bar_chart, loss_chart, read_curve, thin
from tests.hostile import WORDS, obeyed
from tests.workshop import ROOT

TRAIN, VALIDATION = [(float(i), 5 - i / 100) for i in range(1, 400)], [(100.0, 4.2), (200.0, 3.4)]


def drawn() -> list[str]:
    return [
        loss_chart(TRAIN, VALIDATION, 1024),
        loss_chart(TRAIN, [], None),
        bar_chart("pos", {"NOUN": 0.5, "VERB": 0.25}, "accuracy", ".0%"),
    ]


def test_well_formed_themed_and_self_contained() -> None:
    for svg in drawn():
        ElementTree.fromstring(svg)
        assert not any(colour in svg for colour in VARIABLES)
        assert "var(--ink)" in svg or "var(--muted)" in svg
        assert not re.search(r"<script|<image|<style|href=|https?://(?!www\.w3\.org/)", svg)


def test_same_bytes_in_one_process() -> None:
    assert drawn() == drawn()


def test_every_reference_has_its_target() -> None:
    svg = drawn()[2]
    targets = re.findall(r'\bid="([^"]+)"', svg)
    assert len(targets) == len(set(targets))
    assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= set(targets)
    assert all(target.startswith("pos-") for target in targets)


def test_names_from_the_corpus_cannot_inject() -> None:
    svg = bar_chart("s", {"<b>&\"'": 1.0, "plain": 2.0}, "x", ".2f")
    assert "<b>" not in svg
    ElementTree.fromstring(svg)


def test_no_name_aborts_the_renderer() -> None:
    """In a process of its own, which an abort would end."""
    code = """
import json, sys
from privllm.core.printable import printable
from privllm.report.charts import bar_chart
for word in json.load(sys.stdin):
    print(json.dumps(bar_chart("s", {word: 1.0, "plain": 2.0}, "x", ".2f")), flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps([*WORDS, "plain"]), cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{WORDS[done.stdout.count(chr(10))]!a}: {done.stderr[-300:]}"
    for word, line in zip(WORDS, done.stdout.splitlines(), strict=False):
        svg = json.loads(line)
        ElementTree.fromstring(svg)
        assert not obeyed(svg)
        assert printable(word) in svg


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


@pytest.mark.parametrize("values", [{}, {"only": 0.0}])
def test_few_bars_do_no_harm(values: dict) -> None:
    ElementTree.fromstring(bar_chart("s", values, "x", ".2f"))
