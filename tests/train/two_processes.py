"""Trainings of `shared_training` as programs, and what they leave."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.train.tiny_corpus import Corpus
from tests.workshop import ROOT


class Unbroken:
    """Trainings that nobody interrupted, each run once."""

    def __init__(self, corpus: Corpus, folder: Path) -> None:
        self.corpus = corpus
        self.folder = folder

    def of(self, **wanted: object) -> Path:
        place = self.folder / ("-".join(f"{name}-{value}" for name, value in sorted(wanted.items())) or "alone")
        if not place.exists():
            shared(self.corpus, place, **wanted)
        return place


def shared(corpus: Corpus, place: Path, fails: bool = False, **wanted: object) -> subprocess.CompletedProcess:
    """Run a training in `place`."""
    words = [f"{name}={value}" for name, value in wanted.items()]
    command = [sys.executable, "-m", "tests.train.shared_training", str(corpus.rows.parent), str(place), *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert bool(done.returncode) == fails, done.stderr
    return done


def curve(place: Path, metric: str) -> list[float]:
    lines = (place / f"live/plots/metrics/{metric}/loss.tsv").read_text().splitlines()[1:]
    return [float(line.split("\t")[1]) for line in lines]


def assert_near(place: Path, other: Path) -> None:
    """Losses to 1e-4 nats after 12 steps, weights to 1e-3: sums are taken in another order."""
    for metric in ("train", "validation"):
        assert curve(place, metric) == pytest.approx(curve(other, metric), abs=1e-4)
    weights, others = (load_file(folder / "model.safetensors") for folder in (place, other))
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(others[name], weight, rtol=0, atol=1e-3, msg=name)


def assert_same_bytes(place: Path, other: Path) -> None:
    for file in ("model.safetensors", "live/metrics.json"):
        assert (place / file).read_bytes() == (other / file).read_bytes()
