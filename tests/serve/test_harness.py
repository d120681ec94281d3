"""lm-evaluation-harness, in an environment of its own: against `privllm serve`, and on the export itself. Nightly.

Its figures of local texts are compared with our own log-likelihood of the same texts.
"""

import math
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from privllm.serve.app import chat_app
from privllm.serve.database import Database
from privllm.serve.engine.local import LocalEngine
from tests.serve.environments import environment
from tests.serve.harness import evaluated, own_nats, write_tasks
from tests.serve.live import live
from tests.serve.models import TEXT
from tests.workshop import ROOT

NIGHTLY = os.environ.get("PRIVLLM_NIGHTLY") == "1"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not NIGHTLY, reason="it installs lm-evaluation-harness: PRIVLLM_NIGHTLY=1 runs it"),
]
WORDS = TEXT.split()
TEXTS = [" ".join(random.Random(seed).choices(WORDS, k=3 + seed % 14)) for seed in range(24)]
CLOZE = [
    {"opening": text, "endings": random.Random(seed).sample(WORDS, 3), "right": seed % 3}
    for seed, text in enumerate(TEXTS)
]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lock = ROOT / "requirements-harness.lock"
    place = tmp_path_factory.mktemp("harness") / "environment"
    return environment(place, "--no-deps", "--require-hashes", "-r", str(lock), ours=True)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks") / "tasks"
    write_tasks(folder, TEXTS, CLOZE)
    return folder


def own_figures(folder: Path) -> dict[str, float]:
    """Return bits per byte, and how often the likeliest of three endings is the right one."""
    size = sum(len(text.encode()) for text in TEXTS)
    bits = own_nats(folder, TEXTS, [""] * len(TEXTS)).sum() / size / math.log(2)
    right = 0
    for row in CLOZE:
        endings = [f" {ending}" for ending in row["endings"]]
        nats = own_nats(folder, endings, [row["opening"]] * len(endings))
        right += int(nats.argmin()) == row["right"]
    return {"bits": bits, "acc": right / len(CLOZE)}


def compare(results: dict[str, Any], folder: Path) -> None:
    ours = own_figures(folder)
    assert results["held_out"]["bits_per_byte,none"] == pytest.approx(ours["bits"], rel=1e-4)
    assert results["cloze"]["acc,none"] == pytest.approx(ours["acc"])
    assert 0 < ours["acc"] < 1


def test_local_completions_against_a_server(
    python: Path, tasks: Path, exported: Callable[..., Path], tmp_path: Path
) -> None:
    folder = exported()
    with live(chat_app(LocalEngine.open(folder), Database(tmp_path / "p.sqlite"))) as url:
        arguments = {
            "model": "handbook-1", "base_url": f"{url}/v1/completions", "tokenizer": folder, "max_length": 96,
            "tokenizer_backend": "huggingface", "num_concurrent": 4, "tokenized_requests": "True",
        }  # fmt: skip
        compare(evaluated(python, tasks, "local-completions", arguments, tmp_path / "out"), folder)


def test_its_own_model_class_on_the_export(
    python: Path, tasks: Path, exported: Callable[..., Path], tmp_path: Path
) -> None:
    folder = exported()
    results = evaluated(python, tasks, "hf", {"pretrained": folder, "dtype": "float32"}, tmp_path / "out")
    compare(results, folder)
