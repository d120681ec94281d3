"""The whole stage on tiny models of all families: same bytes however often it was interrupted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from tiny_corpus import CONTEXT, Corpus, as_json, make_corpus, tiny, write_split, write_tokenizer

import privllm
from privllm.core.errors import UserError
from privllm.model.families import FAMILIES, load
from privllm.model.generate import SamplingConfig, generate
from privllm.train.checkpoint import NAME, KeepLatest
from privllm.train.config import PretrainConfig
from privllm.train.history import History
from privllm.train.loop import Work
from privllm.train.pretrain import PretrainInputs, pretrain


class Killed(Exception):
    pass


def run(cfg: PretrainConfig, corpus: Corpus, place: Path, code: str = "code", family: str = "causal") -> dict:
    inputs = PretrainInputs(corpus.rows, corpus.guide, corpus.tokenizer)
    return pretrain(family, cfg, inputs, place / "out", place / "live", Work(place / "work" / "pretrain", code))


def all_bytes(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def die_at(step: int, monkeypatch: pytest.MonkeyPatch, how: type[BaseException] = Killed) -> None:
    """Die inside `step`, after its losses were written and before its checkpoint is."""
    record = History.on_train_batch_end

    def dying(self, trainer, *args):
        record(self, trainer, *args)
        if trainer.global_step == step:
            raise how

    monkeypatch.setattr(History, "on_train_batch_end", dying)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    place = tmp_path_factory.mktemp("unbroken")
    run(tiny(), make_corpus(place), place / "run")
    return all_bytes(place / "run")


def test_files_report_and_a_second_run(corpus, tmp_path, cfg, unbroken):
    report = run(cfg, corpus, tmp_path / "again")
    assert all_bytes(tmp_path / "again") == unbroken
    assert list(unbroken) == [
        "live/metrics.json",
        "live/plots/metrics/train/loss.tsv",
        "live/plots/metrics/validation/loss.tsv",
        "out/config.json",
        "out/generation_config.json",
        "out/model.safetensors",
        "out/training.json",
    ]
    assert (report["steps"], report["stopped_by"], report["epochs"]) == (40, "max_tokens", round(160 / 23, 4))
    # 160 rows of the stream: six epochs of 23 rows, two of which hold 4 labels only, and 22 rows of the seventh.
    assert 40 * 4 * CONTEXT - 14 * 12 <= report["labels"] <= 40 * 4 * CONTEXT - 12 * 12
    assert report["tokens"] == 40 * 4 * CONTEXT
    assert as_json(tmp_path / "again" / "out" / "training.json")["config"]["model"]["width"] == 32
    assert not (tmp_path / "again" / "work" / "pretrain").exists()


@pytest.mark.parametrize("step", [3, 8, 9, 30, 40])
def test_interrupted_anywhere_and_started_again_gives_the_same_bytes(corpus, tmp_path, cfg, unbroken, monkeypatch, step):
    with monkeypatch.context() as patched:
        die_at(step, patched)
        with pytest.raises(Killed):
            run(cfg, corpus, tmp_path / "broken")
    assert not (tmp_path / "broken" / "out").exists()
    assert (tmp_path / "broken" / "work" / "pretrain" / NAME).exists() == (step > 8)
    run(cfg, corpus, tmp_path / "broken")
    assert all_bytes(tmp_path / "broken") == unbroken


def test_killed_with_signal_nine_and_started_again_gives_the_same_bytes(corpus, tmp_path, cfg, unbroken):
    script = f"""
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from tiny_corpus import Corpus, tiny
from test_pretrain import History, run
record = History.on_train_batch_end
def dying(self, trainer, *args):
    record(self, trainer, *args)
    if trainer.global_step == 30:
        os.kill(os.getpid(), signal.SIGKILL)
History.on_train_batch_end = dying
run(tiny(), Corpus(*map(Path, sys.argv[1:4])), Path(sys.argv[4]))
"""
    environment = os.environ | {"PYTHONPATH": str(Path(privllm.__file__).parents[1])}
    command = [sys.executable, "-c", script, *map(str, corpus), str(tmp_path / "killed")]
    died = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert "30\t" in (tmp_path / "killed/live/plots/metrics/validation/loss.tsv").read_text()  # beyond the checkpoint of step 24
    run(cfg, corpus, tmp_path / "killed")
    assert all_bytes(tmp_path / "killed") == unbroken


def test_a_checkpoint_of_other_code_parameters_or_rows_is_not_taken_up(corpus, tmp_path, cfg, monkeypatch):
    resumed: list[int] = []
    monkeypatch.setattr(KeepLatest, "on_train_start", lambda self, trainer, module: resumed.append(trainer.global_step))
    with monkeypatch.context() as patched:
        die_at(20, patched)
        for _ in range(2):  # from the start, then from the checkpoint
            with pytest.raises(Killed):
                run(cfg, corpus, tmp_path)
    checkpoint = (tmp_path / "work/pretrain" / NAME).read_bytes()

    def put_back() -> None:
        (tmp_path / "work/pretrain").mkdir(exist_ok=True)
        (tmp_path / "work/pretrain" / NAME).write_bytes(checkpoint)

    run(cfg, corpus, tmp_path, code="other code")
    put_back()
    run(tiny(learning_rate=0.001), corpus, tmp_path)
    put_back()
    write_split(corpus.rows / "train", [[[5, 6, 7]]])
    run(cfg, corpus, tmp_path)
    assert resumed == [0, 16, 0, 0, 0]


@pytest.mark.parametrize("how", [KeyboardInterrupt, SIGTERMException])
def test_an_interrupt_stays_one_and_nothing_half_written_is_left(corpus, tmp_path, cfg, unbroken, monkeypatch, how):
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patched:
        die_at(20, patched, how)
        with pytest.raises(KeyboardInterrupt):
            run(cfg, corpus, tmp_path / "stopped")
    assert signal.getsignal(signal.SIGINT) is handler
    assert [path.name for path in (tmp_path / "stopped/work/pretrain").iterdir()] == [NAME]
    run(cfg, corpus, tmp_path / "stopped")
    assert all_bytes(tmp_path / "stopped") == unbroken


def test_a_plateau_brings_the_decay_forward(corpus, tmp_path):
    cfg = tiny(min_delta=100.0, patience=2, decay_fraction=0.25)  # nothing ever counts as an improvement but the first
    report = run(cfg, corpus, tmp_path)
    assert (report["stopped_by"], report["steps"]) == ("plateau", 18 + 6)
    losses = (tmp_path / "live/plots/metrics/validation/loss.tsv").read_text().split()[2::2]
    assert losses == ["6", "12", "18", "24"]


def test_a_loss_that_is_no_number_tells_what_to_lower(corpus, tmp_path):
    with pytest.raises(UserError, match="learning_rate"):
        run(tiny(learning_rate=1e30, optimizer="adamw"), corpus, tmp_path)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_learns_a_repeating_text_by_heart(tmp_path, optimizer):
    text = [10, 9, 4, 7, 7, 3, 5, 8] * 3
    write_split(tmp_path / "pack" / "train", [[text[i : i + CONTEXT + 1] for i in range(8)]])
    write_split(tmp_path / "pack" / "validation", [[text[: CONTEXT + 1]]])
    write_tokenizer(tmp_path / "tokenizer", ["<|endoftext|>", "<|pad|>", "<|mask|>", *"abcdefgh"])
    cfg = tiny(optimizer=optimizer, learning_rate=0.02, max_tokens=60 * 4 * CONTEXT, patience=100, validate_every=30)
    report = run(cfg, Corpus(tmp_path / "pack", tmp_path / "tokenizer", tmp_path), tmp_path)
    assert report["validation_loss"] < 0.2
    model = load("causal", tmp_path / "out")
    assert generate(model, text[:8], SamplingConfig(max_new_tokens=8, temperature=0.0)) == text[8:16]


def test_empty_splits_are_the_users_to_mend(corpus, tmp_path, cfg):
    write_split(corpus.rows / "validation", [[]])
    with pytest.raises(UserError, match="validation holds no rows"):
        run(cfg, corpus, tmp_path)


def test_dropout_of_attention_is_on_while_training_and_depends_on_the_step(corpus, tmp_path, cfg, unbroken):
    cfg.causal.model.attention_dropout = 0.0
    run(cfg, corpus, tmp_path / "without")
    assert all_bytes(tmp_path / "without")["out/model.safetensors"] != unbroken["out/model.safetensors"]
    assert torch.isfinite(load("causal", tmp_path / "without" / "out").lm_head.weight).all()


@pytest.mark.parametrize("family", ["masked", "seq2seq"])
def test_every_family_learns_and_goes_on_exactly(corpus, tmp_path, monkeypatch, family):
    cfg = tiny(learning_rate=0.01)
    report = run(cfg, corpus, tmp_path / "whole", family=family)
    first, *_, last = (tmp_path / "whole/live/plots/metrics/validation/loss.tsv").read_text().split()[3::2]
    assert float(last) < float(first)
    assert report["labels"] < report["tokens"]
    with monkeypatch.context() as patched:
        die_at(20, patched)
        with pytest.raises(Killed):
            run(cfg, corpus, tmp_path / "broken", family=family)
    run(cfg, corpus, tmp_path / "broken", family=family)
    assert all_bytes(tmp_path / "broken") == all_bytes(tmp_path / "whole")
    assert load(family, tmp_path / "whole/out").config.architectures


def test_the_families_are_those_of_the_section():
    assert set(vars(tiny())) == set(FAMILIES)
