"""Two processes that share a training: near one with the same batch, equal to themselves, also after one of them was killed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from privllm.core.errors import UserError
from privllm.models.device_config import DevicesConfig, chosen, use
from privllm.train.loop import Work
from privllm.train.parallel import ALONE, add_up, any_says, first_says, group, joined, wait_for_all
from privllm.train.pretrain import PretrainInputs, pretrain
from tests.train.tiny_corpus import Corpus, tiny
from tests.train.two_processes import Unbroken, assert_near, assert_same_bytes, shared
from tests.workshop import ROOT

NIGHTLY = bool(os.environ.get("PRIVLLM_NIGHTLY"))
FAMILIES = ["causal", "masked", "seq2seq"] if NIGHTLY else ["causal"]


@pytest.mark.parametrize("family", FAMILIES)
def test_two_processes_train_as_one_does_on_the_same_batch(unbroken: Unbroken, family: str) -> None:
    more = {} if family == "causal" else {"family": family}
    assert_near(unbroken.of(processes=2, **more), unbroken.of(**more))


@pytest.mark.skipif(not NIGHTLY, reason="nightly: two more trainings")
def test_a_process_without_rows_adds_nothing(unbroken: Unbroken) -> None:
    """Four rows a step, and five processes."""
    whole = unbroken.of()
    assert_near(unbroken.of(processes=5), whole)


@pytest.mark.skipif(not NIGHTLY, reason="nightly: test_launch.py kills one of two by default")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_others_and_the_next_run_ends_in_the_same_bytes(
    unbroken: Unbroken, tmp_path: Path, rank: int
) -> None:
    whole = unbroken.of(processes=2)
    said = shared(unbroken.corpus, tmp_path / "killed", fails=True, processes=2, dies=f"{rank}:7")
    if rank:
        assert "one of the 2 processes of this training has ended" in said.stderr
    assert not (tmp_path / "killed/model.safetensors").exists()
    shared(unbroken.corpus, tmp_path / "killed", processes=2)
    assert_same_bytes(tmp_path / "killed", whole)


@pytest.mark.skipif(not NIGHTLY, reason="nightly: three more trainings")
@pytest.mark.parametrize("how", ["stopped", "dies"])
@pytest.mark.parametrize("rank", [0, 1])
def test_whichever_process_ends_the_last_whole_step_is_saved(
    unbroken: Unbroken, tmp_path: Path, how: str, rank: int
) -> None:
    """By the first one, unless it is the one that was killed; no checkpoint is due in an hour."""
    ended = {"processes": 2, "seconds": 3600, how: f"{rank}:7"}
    said = shared(unbroken.corpus, tmp_path / "ended", fails=True, **ended)
    if how == "stopped" and rank == 0:
        assert "Terminated: step 7 of 12 is saved" in said.stderr
    again = shared(unbroken.corpus, tmp_path / "ended", processes=2)
    is_saved = (how, rank) != ("dies", 0)
    assert ("goes on from step 7/12" if is_saved else "begins at step 0/12") in again.stderr
    assert_same_bytes(tmp_path / "ended", unbroken.of(processes=2))


@pytest.mark.skipif(not NIGHTLY, reason="nightly: two more trainings")
def test_a_checkpoint_of_two_goes_on_with_one(unbroken: Unbroken, tmp_path: Path) -> None:
    whole = unbroken.of()
    shared(unbroken.corpus, tmp_path / "killed", fails=True, processes=2, dies="1:7")
    shared(unbroken.corpus, tmp_path / "killed")
    assert_near(tmp_path / "killed", whole)


def test_alone_there_is_nothing_to_add_up_or_wait_for() -> None:
    with joined(1) as processes:
        assert processes == group() == ALONE
        tensor = torch.ones(3)
        add_up([tensor])
        wait_for_all()
        assert any_says(True, False) == (True, False)
        assert first_says([3, 4]) == [3, 4]
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
