"""Two processes that share a training: near one with the same batch, equal to themselves, also after one of them was killed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from privllm.core.errors import UserError
from privllm.models.device_config import DevicesConfig, chosen, use
from privllm.train.loop import Work
from privllm.train.parallel import ALONE, add_up, group, joined, wait_for_all
from privllm.train.pretrain import PretrainInputs, pretrain
from tests.train.tiny_corpus import Corpus, tiny
from tests.workshop import ROOT

NIGHTLY = bool(os.environ.get("PRIVLLM_NIGHTLY"))
FAMILIES = ["causal", "masked", "seq2seq"] if NIGHTLY else ["causal"]


def shared(corpus: Corpus, place: Path, *words: str, fails: bool = False) -> subprocess.CompletedProcess:
    """Run a training of `words`, in `place`."""
    command = [sys.executable, "-m", "tests.train.shared_training", str(corpus.rows.parent), str(place), *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert bool(done.returncode) == fails, done.stderr
    return done


def curve(place: Path, metric: str) -> list[float]:
    lines = (place / f"live/plots/metrics/{metric}/loss.tsv").read_text().splitlines()[1:]
    return [float(line.split("\t")[1]) for line in lines]


@pytest.mark.parametrize("family", FAMILIES)
def test_two_processes_train_as_one_does_on_the_same_batch(corpus: Corpus, tmp_path: Path, family: str) -> None:
    """Losses to 1e-4 nats after 12 steps, weights to 1e-3: sums are taken in another order."""
    for processes in ("1", "2"):
        shared(corpus, tmp_path / processes, processes, family)
    for metric in ("train", "validation"):
        assert curve(tmp_path / "2", metric) == pytest.approx(curve(tmp_path / "1", metric), abs=1e-4)
    one, two = (load_file(tmp_path / place / "model.safetensors") for place in ("1", "2"))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=0, atol=1e-3, msg=name)


@pytest.mark.parametrize("rank", [0, 1] if NIGHTLY else [1])
def test_a_killed_process_ends_the_others_and_the_next_run_ends_in_the_same_bytes(
    corpus: Corpus, tmp_path: Path, rank: int
) -> None:
    shared(corpus, tmp_path / "whole", "2")
    said = shared(corpus, tmp_path / "killed", "2", "causal", str(rank), "7", fails=True)
    if rank:
        assert "one of the 2 processes of this training has ended" in said.stderr
    assert not (tmp_path / "killed/model.safetensors").exists()
    shared(corpus, tmp_path / "killed", "2")
    for file in ("model.safetensors", "live/metrics.json"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


@pytest.mark.skipif(not NIGHTLY, reason="nightly: two more trainings")
def test_a_checkpoint_of_two_goes_on_with_one(corpus: Corpus, tmp_path: Path) -> None:
    shared(corpus, tmp_path / "whole", "1")
    shared(corpus, tmp_path / "killed", "2", "causal", "1", "7", fails=True)
    shared(corpus, tmp_path / "killed", "1")
    assert curve(tmp_path / "killed", "train") == pytest.approx(curve(tmp_path / "whole", "train"), abs=1e-4)


def test_alone_there_is_nothing_to_add_up_or_wait_for() -> None:
    with joined(1) as processes:
        assert processes == group() == ALONE
        tensor = torch.ones(3)
        add_up([tensor])
        wait_for_all()
        assert tensor.equal(torch.ones(3))


STAGE = """
import sys
from pathlib import Path
from privllm.models.device_config import DevicesConfig, use
from privllm.train.loop import Work
from privllm.train.pretrain import PretrainInputs, pretrain
from tests.train.tiny_corpus import tiny
corpus, place = map(Path, sys.argv[1:])
use(DevicesConfig(devices=2))
inputs = PretrainInputs(corpus / "pack", corpus / "guide", corpus / "tokenizer", corpus / "start")
print(pretrain("causal", tiny(), inputs, place / "out", place / "live", Work(place / "work", "code"))["steps"])
"""


@pytest.mark.skipif(not NIGHTLY, reason="nightly: one more training")
def test_a_pretraining_starts_its_processes_by_itself_and_one_writes(corpus: Corpus, tmp_path: Path) -> None:
    command = [sys.executable, "-c", STAGE, str(corpus.rows.parent), str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.stdout == "40\n", done.stderr
    assert done.stderr.count("begins at step") == 1
    assert (tmp_path / "run/out/model.safetensors").is_file()
    assert not (tmp_path / "run/work").exists()


def test_fewer_rows_than_processes_are_refused(corpus: Corpus, tmp_path: Path) -> None:
    inputs = PretrainInputs(corpus.rows, corpus.guide, corpus.tokenizer, corpus.start)
    before = chosen()
    use(DevicesConfig(devices=5))
    try:
        with pytest.raises(UserError, match=r"has 4 rows, too few for 5 processes: raise `batch_size`"):
            pretrain("causal", tiny(), inputs, tmp_path / "out", tmp_path / "live", Work(tmp_path / "work", "code"))
    finally:
        use(before)
