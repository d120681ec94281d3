import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privllm.core.errors import UserError
from privllm.train.checkpoint import NAME, KeepLatest, SafeCheckpointIO, resumable
from tests.workshop import ROOT

keys = st.one_of(st.text(max_size=5), st.integers(), st.none(), st.booleans())
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.builds(
        lambda shape, dtype: torch.arange(math.prod(shape)).reshape(shape).to(dtype),
        st.lists(st.integers(0, 3), max_size=3),
        st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.bool]),
    ),
)
trees = st.recursive(
    leaves,
    lambda t: st.one_of(st.lists(t, max_size=3), st.tuples(t, t), st.dictionaries(keys, t, max_size=3)),
    max_leaves=12,
)


def same(one, other) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, dict):
        return (
            list(one) == list(other)
            and [type(k) for k in one] == [type(k) for k in other]
            and all(same(one[k], other[k]) for k in one)
        )
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(keys, trees, max_size=4))
def test_what_is_saved_comes_back_type_for_type(tmp_path, tree):
    io = SafeCheckpointIO("key")
    io.save_checkpoint(tree, tmp_path / NAME)
    assert same(io.load_checkpoint(tmp_path / NAME), tree)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_tensors_that_share_memory_are_allowed(tmp_path):
    shared = torch.arange(6.0)
    io = SafeCheckpointIO("key")
    io.save_checkpoint({"a": shared, "b": shared[2:], "c": shared.view(2, 3).T}, tmp_path / NAME)
    loaded = io.load_checkpoint(tmp_path / NAME)
    assert torch.equal(loaded["b"], shared[2:])
    assert torch.equal(loaded["c"], shared.view(2, 3).T)


PEAKS = """
import resource, sys, torch
from pathlib import Path
from privllm.train.checkpoint import SafeCheckpointIO

weights = {"a": torch.ones(1 << 24), "b": torch.ones(1 << 24)}  # 128 MiB
SafeCheckpointIO("key").save_checkpoint({"small": torch.ones(1)}, Path(sys.argv[1]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
SafeCheckpointIO("key").save_checkpoint(weights, Path(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_weights_are_written_from_where_they_lie(tmp_path):
    """A copy of them beside them would double what a training needs while it saves."""
    said = subprocess.run(
        [sys.executable, "-c", PEAKS, str(tmp_path / NAME)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(said.stdout) < 64 << 10  # KiB


def test_only_the_run_that_wrote_it_may_go_on_from_it(tmp_path):
    assert resumable(tmp_path, "key") is None
    SafeCheckpointIO("key").save_checkpoint({"a": 1}, tmp_path / NAME)
    assert resumable(tmp_path, "key") == tmp_path / NAME
    assert resumable(tmp_path, "another") is None
    (tmp_path / NAME).write_bytes((tmp_path / NAME).read_bytes()[:-1] + b"\x00" * 9)
    assert resumable(tmp_path, "key") is None


@pytest.mark.parametrize("place", [-1, -500])
def test_numbers_that_are_not_those_that_were_written_do_not_count(tmp_path, place):
    files = SafeCheckpointIO("key")
    files.save_checkpoint({"a": torch.arange(200.0), "b": torch.ones(3, dtype=torch.bfloat16)}, tmp_path / NAME)
    content = bytearray((tmp_path / NAME).read_bytes())
    content[place] ^= 5
    (tmp_path / NAME).write_bytes(content)
    assert resumable(tmp_path, "key") is None
    with pytest.raises(UserError, match="is damaged: remove"):
        files.load_checkpoint(tmp_path / NAME)


def test_a_save_that_fails_leaves_the_older_checkpoint_whole(tmp_path, monkeypatch):
    io = SafeCheckpointIO("key")
    io.save_checkpoint({"step": 1}, tmp_path / NAME)

    def out_of_space(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("privllm.engine.digests.os.fsync", out_of_space)
    with pytest.raises(OSError, match="No space"):
        io.save_checkpoint({"step": 2}, tmp_path / NAME)
    assert io.load_checkpoint(tmp_path / NAME) == {"step": 1}


def test_a_write_that_dies_half_way_leaves_the_older_checkpoint_whole(tmp_path, monkeypatch):
    io = SafeCheckpointIO("key")
    io.save_checkpoint({"step": 1}, tmp_path / NAME)
    older = (tmp_path / NAME).read_bytes()

    def half(tensors, path, metadata):
        Path(path).write_bytes(older[: len(older) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr("privllm.train.checkpoint.save_file", half)
    with pytest.raises(KeyboardInterrupt):
        io.save_checkpoint({"step": 2}, tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == older
    assert resumable(tmp_path, "key") == tmp_path / NAME


def test_its_bytes_are_on_the_disk_before_it_takes_the_name_and_the_name_after(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "privllm.train.checkpoint.sync", lambda path: seen.append((path.name, (tmp_path / NAME).exists()))
    )
    SafeCheckpointIO("key").save_checkpoint({"step": 1}, tmp_path / NAME)
    assert seen == [(f"{NAME}.partial", False), (tmp_path.name, True)]


def steps_saved(seconds_of_steps: list[float], every: float, end: int = 100) -> list[int]:
    """At which steps, of those that take so long, a checkpoint is saved."""
    now, saved = [1000.0], []
    trainer = SimpleNamespace(
        global_step=0, save_checkpoint=lambda path, weights_only: saved.append(trainer.global_step)
    )
    module: Any = SimpleNamespace(schedule=SimpleNamespace(end=end))
    keep = KeepLatest(Path("work"), every, clock=lambda: now[0])
    keep.on_train_start(trainer, module)
    try:
        for seconds in seconds_of_steps:
            now[0] += seconds
            trainer.global_step += 1
            keep.on_train_batch_end(trainer, module)
    finally:
        keep.interrupts.give_back()
    return saved


def test_checkpoints_come_by_the_clock_and_after_the_last_step():
    assert steps_saved([100.0] * 7, every=300.0) == [3, 6]
    assert steps_saved([299.0, 1.0, 299.0, 2.0], every=300.0) == [2, 4]
    assert steps_saved([900.0, 1.0, 1.0], every=300.0) == [1]
    assert steps_saved([1.0, 1.0], every=0.0) == [1, 2]
    assert steps_saved([1.0, 1.0, 1.0], every=math.inf, end=3) == [3]


def test_objects_are_refused(tmp_path):
    with pytest.raises(TypeError, match="cannot hold a set"):
        SafeCheckpointIO("key").save_checkpoint({"a": {1}}, tmp_path / NAME)


@pytest.mark.parametrize(("on_gpu", "saved"), [(False, [7]), (True, [])])
def test_a_step_is_saved_without_another_process_where_it_is_known_to_be_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_gpu: bool, saved: list[int]
) -> None:
    """On a GPU the sums of gradients are only queued, so the optimiser may have begun on half of them."""
    keep = KeepLatest(tmp_path, math.inf)
    keep.interrupts = SimpleNamespace(held=False, hold=lambda: None)  # type: ignore[assignment]
    trainer, found = SimpleNamespace(global_step=7), []
    monkeypatch.setattr("privllm.train.checkpoint.on_gpu", lambda: on_gpu)
    monkeypatch.setattr(keep, "_save", lambda trainer: found.append(trainer.global_step))
    keep.on_exception(trainer, None, RuntimeError("Connection closed by peer"))  # type: ignore[arg-type]
    assert found == saved
