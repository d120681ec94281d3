"""Processes that each hold a share of the model: near one that holds all, and to be resumed by as many as like."""

import os
from pathlib import Path

import pytest
import torch

from privllm.core.errors import UserError
from privllm.models.device_config import DevicesConfig, chosen, use
from privllm.train.memory_need import Shape, Way, bytes_needed
from privllm.train.sharding import DDP, FSDP, is_cut, rows_of, share, strategy_for, taken_over
from tests.train.two_processes import Unbroken, assert_near, assert_same_bytes, curve, shared

pytestmark = pytest.mark.training  # in processes of its own, which tests/lanes.py does not see
NIGHTLY = bool(os.environ.get("PRIVLLM_NIGHTLY"))
PAIR = {"processes": 2, "strategy": "fsdp"}
WAYS = {
    "muon": {},
    "recomputed in parts": {"recompute": "always", "positions": 16},
    "adapters": {"optimizer": "adamw", "rank": 2},
    "compiled": {"compiled": "aot_eager"},
    "masked": {"family": "masked"},
    "seq2seq": {"family": "seq2seq"},
}


@pytest.mark.skipif(not NIGHTLY, reason="nightly: by default one that goes on alone is compared with the whole, below")
@pytest.mark.parametrize("way", WAYS)
def test_two_shares_train_as_one_whole_does_on_the_same_batch(unbroken: Unbroken, way: str) -> None:
    one = unbroken.of(**WAYS[way])
    assert_near(unbroken.of(**PAIR, **WAYS[way]), one)


@pytest.mark.skipif(not NIGHTLY, reason="nightly: two more trainings")
def test_three_shares_of_rows_that_three_does_not_divide(unbroken: Unbroken) -> None:
    """Four rows a step and 32 of most weights: one process has two rows, and none has as many weights as the others."""
    one = unbroken.of()
    assert_near(unbroken.of(processes=3, strategy="fsdp"), one)


@pytest.mark.skipif(not NIGHTLY, reason="nightly: two more trainings")
def test_bf16_and_states_of_8_bits_learn_alike(unbroken: Unbroken) -> None:
    """To 0.1 nats: chance rounds each share's weights differently."""
    lean = {"optimizer": "adamw8", "weights": "bf16"}
    one = unbroken.of(**lean)
    two = unbroken.of(**PAIR, **lean)
    assert curve(two, "validation") == pytest.approx(curve(one, "validation"), abs=0.1)


@pytest.mark.skipif(not NIGHTLY, reason="nightly: two more trainings")
def test_products_in_bf16_learn_alike(unbroken: Unbroken) -> None:
    """To 0.01 nats: blocks that are put together in bf16 have norms in bf16 too."""
    one = unbroken.of(processes=2, precision="bf16")
    two = unbroken.of(**PAIR, precision="bf16")
    assert curve(two, "validation") == pytest.approx(curve(one, "validation"), abs=0.01)


@pytest.mark.skipif(not NIGHTLY, reason="nightly: test_launch.py kills one of two by default")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_share_ends_the_others_and_the_next_run_ends_in_the_same_bytes(
    unbroken: Unbroken, tmp_path: Path, rank: int
) -> None:
    whole = unbroken.of(**PAIR)
    said = shared(unbroken.corpus, tmp_path / "killed", fails=True, dies=f"{rank}:7", **PAIR)
    if rank:
        assert "one of the 2 processes of this training has ended" in said.stderr
    assert not (tmp_path / "killed/model.safetensors").exists()
    shared(unbroken.corpus, tmp_path / "killed", **PAIR)
    assert_same_bytes(tmp_path / "killed", whole)


@pytest.mark.skipif(not NIGHTLY, reason="nightly: many trainings")
@pytest.mark.parametrize("file", [5, 8, 9, 10])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_death_between_the_files_of_a_checkpoint_leaves_the_older_one(
    unbroken: Unbroken, tmp_path: Path, rank: int, file: int
) -> None:
    whole = unbroken.of(**PAIR)
    shared(unbroken.corpus, tmp_path / "killed", fails=True, dies_saving=f"{rank}:{file}", **PAIR)
    shared(unbroken.corpus, tmp_path / "killed", **PAIR)
    assert_same_bytes(tmp_path / "killed", whole)


@pytest.mark.skipif(not NIGHTLY, reason="nightly: two more trainings")
@pytest.mark.parametrize("rank", [0, 1])
def test_whoever_is_asked_to_stop_all_save_the_step(unbroken: Unbroken, tmp_path: Path, rank: int) -> None:
    whole = unbroken.of(**PAIR)
    stopped = shared(unbroken.corpus, tmp_path / "stopped", fails=True, stopped=f"{rank}:7", **PAIR)
    assert "Terminated: step 8 of 12 is saved" in stopped.stderr
    said = shared(unbroken.corpus, tmp_path / "stopped", **PAIR)
    assert "goes on from step 8/12" in said.stderr
    assert_same_bytes(tmp_path / "stopped", whole)


CHANGES = [(PAIR, {})]
if NIGHTLY:
    CHANGES += [({}, PAIR), (PAIR, {"processes": 3, "strategy": "fsdp"}), (PAIR, {"processes": 2, "strategy": "ddp"})]


@pytest.mark.parametrize(("before", "after"), CHANGES)
def test_another_number_of_processes_goes_on_from_a_checkpoint(
    unbroken: Unbroken, tmp_path: Path, before: dict, after: dict
) -> None:
    whole = unbroken.of()
    dying = before.get("processes", 1) - 1
    shared(unbroken.corpus, tmp_path / "killed", fails=True, dies=f"{dying}:7", **before)
    said = shared(unbroken.corpus, tmp_path / "killed", **after)
    assert "goes on from step 7/12" in said.stderr
    assert_near(tmp_path / "killed", whole)


@pytest.mark.skipif(not NIGHTLY, reason="nightly: three more trainings")
def test_states_of_8_bits_are_cut_anew(unbroken: Unbroken, tmp_path: Path) -> None:
    lean = {"optimizer": "adamw8"}
    whole = unbroken.of(**lean)
    shared(unbroken.corpus, tmp_path / "killed", fails=True, dies="1:7", **PAIR, **lean)
    shared(unbroken.corpus, tmp_path / "killed", **lean)
    assert_near(tmp_path / "killed", whole)


SHAPE = Shape(layers=36, width=4096, inner=12_288, attention=4096, keys=1024, embeddings=1 << 30, vocabulary=151_936)
FULL = Way("32", "adamw", 0, True, True)


def strategy(wanted: str, way: Way, card: int) -> str:
    before = chosen()
    use(DevicesConfig(devices=8, strategy=wanted))
    try:
        return strategy_for(SHAPE, way, 1, 4096, card)
    finally:
        use(before)


def test_a_model_is_cut_where_a_card_is_too_small_for_it() -> None:
    need = bytes_needed(SHAPE, FULL, 1, 4096)
    assert strategy("auto", FULL, need) == FSDP
    assert strategy("auto", FULL, 2 * need) == DDP
    assert strategy("auto", FULL, 0) == DDP  # a CPU
    assert strategy("fsdp", FULL, 2 * need) == FSDP
    assert strategy("ddp", FULL, need) == DDP


def test_packed_weights_are_not_cut() -> None:
    packed = FULL._replace(weights="nf4", rank=16)
    assert strategy("auto", packed, 1 << 30) == DDP
    with pytest.raises(
        UserError, match=r"is fsdp, which cuts weights into rows, but `weights` is nf4.*set `weights` to bf16"
    ):
        strategy("fsdp", packed, 1 << 30)


@pytest.mark.parametrize("total", [0, 1, 5, 8, 9])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_rows_are_cut_as_torch_cuts_them(total: int, size: int) -> None:
    chunks = list(torch.arange(total).chunk(size)) if total else []
    cut = [torch.arange(total)[slice(*rows_of(total, rank, size))] for rank in range(size)]
    assert [piece.tolist() for piece in cut if len(piece)] == [chunk.tolist() for chunk in chunks]


def test_what_is_not_cut_stays_as_it_is() -> None:
    tensor = torch.ones(3)
    assert share(tensor) is tensor
    assert taken_over(tensor, tensor) is tensor
    assert not is_cut(tensor)
