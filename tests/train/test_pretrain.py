"""The whole stage on tiny models of all families: same bytes however often it was interrupted."""

import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException
from peft import PeftModel
from safetensors.torch import load_file, save_file

import privllm
from privllm.core.base_model import DOCUMENTS, NOTE
from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.report import write_json
from privllm.core.tables import write_table
from privllm.engine.interrupt import Terminated
from privllm.models.generate import SamplingConfig, generate
from privllm.models.loading import MODELS, load
from privllm.tokens.copied_tokens import COPIED_TOKENS
from privllm.tokens.general_text import FILE as GENERAL
from privllm.tokens.general_text import READ, NewText, ReplayConfig, read_general, write_general
from privllm.tokens.special_ids import special_ids
from privllm.tokens.trained_documents import TRAINED
from privllm.train.adapter_config import AdapterConfig
from privllm.train.checkpoint import BEST, NAME
from privllm.train.config import FromBase, PretrainConfig
from privllm.train.lightning_module import make_optimizer
from privllm.train.loop import Work
from privllm.train.loss_history import History
from privllm.train.pretrain import PretrainInputs, pretrain
from privllm.train.spelling_parts import SpellingParts
from tests.foreign import foreign_model
from tests.train.adapters import assert_only_adapters_learnt
from tests.train.striking import BETWEEN, WITHIN, starts, strike_at
from tests.train.tiny_corpus import (
    CONTEXT,
    VOCABULARY,
    Corpus,
    as_json,
    counting_rows,
    from_scratch,
    make_corpus,
    tiny,
    write_no_copies,
    write_split,
    write_tokenizer,
)


class Killed(Exception):
    pass


def die() -> None:
    raise Killed


def run(
    cfg: PretrainConfig, corpus: Corpus, place: Path, code: str = "code", family: str = "causal", seconds: float = 0.0
) -> dict:
    """With a checkpoint after every step, unless `seconds` says otherwise."""
    inputs = PretrainInputs(corpus.rows, corpus.guide, corpus.tokenizer, corpus.start)
    return pretrain(
        family, cfg, inputs, place / "out", place / "live", Work(place / "work" / "pretrain", code, seconds)
    )


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
        "out/tokenizer.json",
        "out/training.json",
    ]
    assert unbroken["out/tokenizer.json"] == (corpus.tokenizer / "tokenizer.json").read_bytes()
    assert (report["steps"], report["stopped_by"], report["epochs"]) == (40, "epochs", round(160 / 23, 4))
    # 160 rows of the stream: six epochs of 23 rows, two of which hold 4 labels only, and 22 rows of the seventh.
    assert 40 * 4 * CONTEXT - 14 * 12 <= report["labels"] <= 40 * 4 * CONTEXT - 12 * 12
    assert report["tokens"] == 40 * 4 * CONTEXT
    (warning,) = report["warnings"]
    assert warning.startswith("368 tokens are few")
    assert as_json(tmp_path / "again" / "out" / "training.json")["config"]["model"]["width"] == 32
    assert not (tmp_path / "again" / "work" / "pretrain").exists()


@pytest.mark.parametrize("step", [1, 2, 9, 30, 40])
def test_interrupted_anywhere_and_started_again_gives_the_same_bytes(
    corpus, tmp_path, cfg, unbroken, monkeypatch, step
):
    with monkeypatch.context() as patched:
        die_at(step, patched)
        with pytest.raises(Killed):
            run(cfg, corpus, tmp_path / "broken")
    assert not (tmp_path / "broken" / "out").exists()
    assert (tmp_path / "broken" / "work" / "pretrain" / NAME).exists() == (step > 1)
    run(cfg, corpus, tmp_path / "broken")
    assert all_bytes(tmp_path / "broken") == unbroken


def test_killed_with_signal_nine_and_started_again_gives_the_same_bytes(corpus, tmp_path, cfg, unbroken):
    script = """
import os, signal, sys
from pathlib import Path
from tests.train.tiny_corpus import Corpus, tiny
from tests.train.test_pretrain import History, run
record = History.record
def dying(self, name, step, value):
    record(self, name, step, value)
    if (name, step) == ("validation/loss", 30):
        os.kill(os.getpid(), signal.SIGKILL)
History.record = dying
run(tiny(), Corpus(*map(Path, sys.argv[1:5])), Path(sys.argv[5]))
"""
    environment = os.environ | {"PYTHONPATH": str(Path(privllm.__file__).parents[1])}
    command = [sys.executable, "-c", script, *map(str, corpus), str(tmp_path / "killed")]
    died = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert "30\t" in (tmp_path / "killed/live/plots/metrics/validation/loss.tsv").read_text()  # beyond the checkpoint
    run(cfg, corpus, tmp_path / "killed")
    assert all_bytes(tmp_path / "killed") == unbroken


def test_a_checkpoint_of_other_code_parameters_or_rows_is_not_taken_up(corpus, tmp_path, cfg, monkeypatch):
    resumed = starts(monkeypatch)
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
    assert [step for _, step in resumed] == [0, 19, 0, 0, 0]


@pytest.mark.parametrize("how", [KeyboardInterrupt, SIGTERMException])
def test_an_interrupt_stays_one_and_nothing_half_written_is_left(corpus, tmp_path, cfg, unbroken, monkeypatch, how):
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patched:
        die_at(20, patched, how)
        with pytest.raises(KeyboardInterrupt) as stopped:
            run(cfg, corpus, tmp_path / "stopped")
    assert type(stopped.value) is (Terminated if how is SIGTERMException else KeyboardInterrupt)
    assert signal.getsignal(signal.SIGINT) is handler
    assert {path.name for path in (tmp_path / "stopped/work/pretrain").iterdir()} == {NAME, BEST}
    run(cfg, corpus, tmp_path / "stopped")
    assert all_bytes(tmp_path / "stopped") == unbroken


@pytest.mark.parametrize(
    ("number", "moment", "step"),
    [(signal.SIGTERM, moment, step) for moment in BETWEEN for step in (1, 9, 40)]
    + [(signal.SIGTERM, moment, step) for moment in WITHIN for step in (12, 40)]
    + [(signal.SIGINT, moment, 12) for moment in ("forward", "update", "measured")],
)
def test_a_signal_abandons_the_step_in_flight_and_saves_the_last_whole_one(
    corpus, tmp_path, cfg, unbroken, monkeypatch, number, moment, step
):
    handlers = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]
    whole = step - (moment in BETWEEN)
    with monkeypatch.context() as patched:
        struck = strike_at(moment, step, patched, number=number)
        with pytest.raises(KeyboardInterrupt) as stopped:
            run(cfg, corpus, tmp_path / "stopped", seconds=math.inf)
        assert struck()
    assert type(stopped.value) is (Terminated if number == signal.SIGTERM else KeyboardInterrupt)
    assert str(stopped.value) == (f"step {whole} of 40 is saved" if whole else "")
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert not (tmp_path / "stopped/out").exists()
    begun = starts(monkeypatch)
    run(cfg, corpus, tmp_path / "stopped", seconds=math.inf)
    assert [at for _, at in begun] == [whole]
    assert all_bytes(tmp_path / "stopped") == unbroken


def test_signals_again_and_again_change_no_byte(corpus, tmp_path, cfg, unbroken, monkeypatch):
    begun = starts(monkeypatch)
    for moment, step in (
        ("forward", 4),
        ("backward", 5),
        ("measured", 6),
        ("taken", 12),
        ("update", 20),
        ("saved", 21),
        ("forward", 37),
    ):
        with monkeypatch.context() as patched:
            strike_at(moment, step, patched)
            with pytest.raises(KeyboardInterrupt):
                run(cfg, corpus, tmp_path / "stopped", seconds=0.0 if moment == "saved" else math.inf)
    run(cfg, corpus, tmp_path / "stopped", seconds=math.inf)
    assert [at for _, at in begun] == [0, 3, 4, 6, 12, 20, 21, 36]
    assert all_bytes(tmp_path / "stopped") == unbroken


def test_what_comes_after_the_last_step_need_not_train_again(corpus, tmp_path, cfg, unbroken, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("privllm.train.pretrain.save", lambda *_: die())
        with pytest.raises(Killed):
            run(cfg, corpus, tmp_path / "stopped", seconds=math.inf)
    shutil.rmtree(tmp_path / "stopped/live")  # as DVC does before a stage
    begun = starts(monkeypatch)
    run(cfg, corpus, tmp_path / "stopped", seconds=math.inf)
    assert [at for _, at in begun] == [40]
    assert all_bytes(tmp_path / "stopped") == unbroken


def test_of_a_plateau_too_the_last_step_is_the_last(corpus, tmp_path, monkeypatch):
    cfg = tiny(min_delta=100.0, patience=2, decay_fraction=0.25)
    run(cfg, corpus, tmp_path / "whole")
    for moment in ("taken", "measured"):  # the validation after step 18 brings the decay forward
        with monkeypatch.context() as patched:
            strike_at(moment, 18, patched)
            with pytest.raises(KeyboardInterrupt):
                run(cfg, corpus, tmp_path / moment, seconds=math.inf)
        with monkeypatch.context() as patched:
            patched.setattr("privllm.train.pretrain.save", lambda *_: die())
            with pytest.raises(Killed):
                run(cfg, corpus, tmp_path / moment, seconds=math.inf)
        run(cfg, corpus, tmp_path / moment)
        assert all_bytes(tmp_path / moment) == all_bytes(tmp_path / "whole")


def test_where_an_interrupted_step_cannot_be_saved_the_message_says_so(corpus, tmp_path, cfg, unbroken, monkeypatch):
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

    def full(path: Path) -> None:
        if path.name.startswith(NAME):
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        die_at(5, patched)
        with pytest.raises(Killed):
            run(cfg, corpus, tmp_path / "stopped")
    with monkeypatch.context() as patched:
        strike_at("forward", 9, patched)
        patched.setattr("privllm.train.checkpoint.sync", full)
        with pytest.raises(UserError, match=r"after step 8, .*could not be saved \(No space left.*step 4 is what"):
            run(cfg, corpus, tmp_path / "stopped", seconds=math.inf)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    run(cfg, corpus, tmp_path / "stopped")
    assert all_bytes(tmp_path / "stopped") == unbroken


def test_a_plateau_brings_the_decay_forward(corpus, tmp_path):
    cfg = tiny(min_delta=100.0, patience=2, decay_fraction=0.25)  # nothing ever counts as an improvement but the first
    report = run(cfg, corpus, tmp_path)
    # The best weights are those of step 6, so a decay of a fifth of that is one step.
    assert (report["stopped_by"], report["steps"]) == ("plateau", 18 + 1)
    losses = (tmp_path / "live/plots/metrics/validation/loss.tsv").read_text().split()[2::2]
    assert losses == ["6", "12", "18", "19"]


def test_a_loss_that_is_no_number_tells_what_to_lower(corpus, tmp_path):
    with pytest.raises(UserError, match="learning_rate"):
        run(tiny(learning_rate=1e30, optimizer="adamw"), corpus, tmp_path)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_learns_a_repeating_text_by_heart(tmp_path, optimizer):
    text = [10, 9, 4, 7, 7, 3, 5, 8] * 3
    write_split(tmp_path / "pack" / "train", [[text[i : i + CONTEXT + 1] for i in range(8)]])
    write_split(tmp_path / "pack" / "validation", [[text[: CONTEXT + 1]]])
    write_no_copies(tmp_path / "pack")
    write_tokenizer(tmp_path / "tokenizer", ["<|endoftext|>", "<|pad|>", "<|mask|>", *"abcdefgh"])
    cfg = tiny(optimizer=optimizer, learning_rate=0.02, epochs=30, patience=100, validate_every=30)
    report = run(
        cfg, Corpus(tmp_path / "pack", tmp_path / "tokenizer", tmp_path, from_scratch(tmp_path / "start")), tmp_path
    )
    assert report["validation_loss"] < 0.2
    model = load("causal", tmp_path / "out")
    assert (
        generate(
            model, text[:8], SamplingConfig(max_new_tokens=8, temperature=0.0), special_ids(tmp_path / "tokenizer")
        )
        == text[8:16]
    )


def test_empty_splits_are_the_users_to_mend(corpus, tmp_path, cfg):
    write_split(corpus.rows / "validation", [[]])
    with pytest.raises(UserError, match="validation holds no rows"):
        run(cfg, corpus, tmp_path)


def test_dropout_is_on_while_training_and_depends_on_the_step(corpus, tmp_path, cfg, unbroken):
    cfg.causal.model.dropout = 0.0
    run(cfg, corpus, tmp_path / "without")
    assert all_bytes(tmp_path / "without")["out/model.safetensors"] != unbroken["out/model.safetensors"]
    assert torch.isfinite(load("causal", tmp_path / "without" / "out").lm_head.weight).all()


@pytest.mark.parametrize("family", ["masked", "seq2seq"])
def test_every_family_learns_and_goes_on_exactly(corpus, tmp_path, monkeypatch, family):
    cfg = tiny(learning_rate=0.02)
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
    assert set(vars(tiny())) == set(MODELS)


@pytest.fixture(scope="module")
def incumbent(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """data/start/causal with a model that was trained on the corpus, and the report of that training."""
    place = tmp_path_factory.mktemp("incumbent")
    corpus = make_corpus(place)
    report = run(tiny(learning_rate=0.01), corpus, place)
    start = place / "from"
    start.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(place / "out" / name, start / name)
    shutil.copyfile(corpus.tokenizer / "tokenizer.json", start / "tokenizer.json")
    write_json(start / NOTE, {"start": "incumbent", "added": {}})
    return start, report


def grown(tmp_path: Path, start: Path, known: int, new: int) -> Corpus:
    """A corpus of which the first `known` documents, a row each, are known to `start`; the new ones count backwards."""
    corpus = make_corpus(tmp_path)
    rows = [*counting_rows(known + 1, 3)[:known], *(row[::-1] for row in counting_rows(new + 1, 4)[:new])]
    names = [f"{i:032x}" for i in range(len(rows))]
    shutil.rmtree(corpus.rows / "train")
    write_split(corpus.rows / "train", [rows], names=names)
    columns = {"id": names, "digest": ["d"] * len(names), "split": ["train"] * len(names)}
    write_table(pa.table(columns), corpus.rows / "documents/00000.parquet")
    shutil.copytree(start, tmp_path / "begun")
    write_table(pa.table([names[:known], ["d"] * known], schema=TRAINED), tmp_path / "begun" / DOCUMENTS)
    return corpus._replace(start=tmp_path / "begun")


def continued(**changes: object) -> PretrainConfig:
    cfg = tiny(**({"learning_rate": 0.002, "replay": 0.25} | changes))
    cfg.causal.model.layers = 7  # the architecture is the start's
    return cfg


def test_goes_on_from_the_incumbent_with_its_share_of_what_it_knew(tmp_path, incumbent, monkeypatch):
    start, before = incumbent
    corpus = grown(tmp_path, start, 12, 10)
    report = run(continued(), corpus, tmp_path / "whole")
    assert abs(report["start_loss"] - before["validation_loss"]) < 1e-4  # the held-out rows are the same
    assert (report["start"], report["rows_known"], report["rows_new"], report["replayed"]) == (
        "incumbent",
        12,
        10,
        0.25,
    )
    curve = (tmp_path / "whole/live/plots/metrics/validation/loss.tsv").read_text().split()[2:4]
    assert (curve[0], round(float(curve[1]), 6)) == ("0", report["start_loss"])
    assert as_json(tmp_path / "whole/out/config.json")["num_hidden_layers"] == 2
    assert "model" not in as_json(tmp_path / "whole/out/training.json")["config"]
    with monkeypatch.context() as patched:
        die_at(20, patched)
        with pytest.raises(Killed):
            run(continued(), corpus, tmp_path / "broken")
    run(continued(), corpus, tmp_path / "broken")
    assert all_bytes(tmp_path / "broken") == all_bytes(tmp_path / "whole")


def test_learns_what_is_new_and_keeps_what_it_knew(tmp_path, incumbent):
    """Without replay the counting upwards that the incumbent had learnt is lost sooner."""
    start, _ = incumbent
    corpus = grown(tmp_path, start, 12, 10)
    losses = {}
    for replay in (0.0, 0.5):
        report = run(continued(replay=replay, learning_rate=0.01), corpus, tmp_path / str(replay))
        losses[replay] = report["validation_loss"]  # of rows that count upwards
    assert losses[0.5] < losses[0.0]


@pytest.mark.parametrize(("known", "new"), [(20, 0), (0, 20)])
def test_rows_of_one_kind_are_all_alike(tmp_path, incumbent, known, new):
    report = run(continued(), grown(tmp_path, incumbent[0], known, new), tmp_path)
    assert (report["rows_known"], report["rows_new"], report["replayed"]) == (known, new, 1.0 if known else 0.0)


def test_another_start_is_another_run(tmp_path, incumbent, monkeypatch):
    resumed = starts(monkeypatch)
    corpus = grown(tmp_path, incumbent[0], 12, 10)
    with monkeypatch.context() as patched:
        die_at(20, patched)
        with pytest.raises(Killed):
            run(continued(), corpus, tmp_path)
    weights = corpus.start / "model.safetensors"
    changed = {name: part + 0.01 for name, part in load_file(weights).items()}
    weights.unlink()
    save_file(changed, weights, metadata={"format": "pt"})
    run(continued(), corpus, tmp_path)
    assert [step for _, step in resumed] == [0, 0]


def test_a_corpus_packed_with_another_tokenizer_is_refused(tmp_path, incumbent):
    corpus = grown(tmp_path, incumbent[0], 12, 10)
    text = (corpus.tokenizer / "tokenizer.json").read_text("utf-8")
    (corpus.tokenizer / "tokenizer.json").write_text(text.replace("word7", "word_7"), "utf-8")
    with pytest.raises(
        UserError, match=r"`base` in params\.yaml names incumbent for causal.*a build has one vocabulary"
    ):
        run(continued(), corpus, tmp_path)


@pytest.mark.parametrize(
    ("family", "kind"), [(family, kind) for family, traits in TRAITS.items() for kind in traits.model_types]
)
@pytest.mark.parametrize(("optimizer", "rank"), [("muon", 0), ("adamw", 0), ("adamw", 4)])
def test_models_of_other_people_learn_in_every_family(tmp_path, family, kind, optimizer, rank):
    corpus = make_corpus(tmp_path)
    foreign_model(family, kind, VOCABULARY).save_pretrained(tmp_path / "base")
    shutil.copyfile(corpus.tokenizer / "tokenizer.json", tmp_path / "base/tokenizer.json")
    write_json(tmp_path / "base" / NOTE, {"start": "data/base/x", "added": {"7": 1}})
    cfg = tiny(from_base=FromBase(optimizer, 0.005, 2.0, AdapterConfig(rank)))
    report = run(cfg, corpus._replace(start=tmp_path / "base"), tmp_path, family=family)
    assert report["validation_loss"] < report["start_loss"]
    assert load(family, tmp_path / "out").config.model_type == kind
    assert report["lora"] == rank


def test_of_a_base_model_adapters_and_added_tokens_learn_and_its_precision_stays(tmp_path):
    corpus = make_corpus(tmp_path)
    foreign_model("causal", "llama", VOCABULARY).to(torch.bfloat16).save_pretrained(tmp_path / "base")
    shutil.copyfile(corpus.tokenizer / "tokenizer.json", tmp_path / "base/tokenizer.json")
    write_json(tmp_path / "base" / NOTE, {"start": "data/base/x", "added": {"7": 1}, "chat": True})
    run(tiny(from_base=FromBase(learning_rate=0.005, epochs=2.0)), corpus._replace(start=tmp_path / "base"), tmp_path)
    assert as_json(tmp_path / "out/config.json")["dtype"] == "bfloat16"
    assert as_json(tmp_path / "out/training.json")["chat"]
    assert not (tmp_path / "out/adapter/matrices").exists(), "a mark needs its row"
    before, after = load("causal", tmp_path / "base"), load("causal", tmp_path / "out")
    assert_only_adapters_learnt(before.state_dict(), after.state_dict(), (7,))
    adapted = PeftModel.from_pretrained(before, tmp_path / "out/adapter").eval()
    ids = torch.tensor([[0, 7, 9, 11, 6, 8]])
    with torch.no_grad():
        difference = (adapted(ids).logits - after(ids).logits).abs().max()
        assert difference < 0.02, "the merged weights are rounded to 8 bits of mantissa"
        assert (adapted(ids).logits - load("causal", tmp_path / "base")(ids).logits).abs().max() > 10 * difference


def test_where_bytes_alone_were_added_there_are_matrices_for_those_who_take_no_rows(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path)
    foreign_model("causal", "llama", VOCABULARY).save_pretrained(tmp_path / "base")
    shutil.copyfile(corpus.tokenizer / "tokenizer.json", tmp_path / "base/tokenizer.json")
    write_json(tmp_path / "base" / NOTE, {"start": "data/base/x", "added": {"7": None}})
    run(tiny(from_base=FromBase(learning_rate=0.005, epochs=2.0)), corpus._replace(start=tmp_path / "base"), tmp_path)
    folder = tmp_path / "out/adapter/matrices"
    assert not [name for name in load_file(folder / "adapter_model.safetensors") if "token_adapter" in name]
    adapted = PeftModel.from_pretrained(load("causal", tmp_path / "base"), folder).eval()
    without, with_added = torch.tensor([[0, 9, 11, 6, 8]]), torch.tensor([[0, 7, 9, 11]])
    merged = load("causal", tmp_path / "out")
    with torch.no_grad():
        # The row is one of the output's too, so the logit of that token alone may differ.
        difference = (adapted(without).logits - merged(without).logits).abs().amax((0, 1))
        assert difference[torch.arange(len(difference)) != 7].max() < 1e-4
        assert (adapted(with_added).logits - merged(with_added).logits).abs().max() > 1e-4


def test_what_was_trained_before_has_dropout_in_its_adapters_and_embeddings_that_stay(tmp_path, monkeypatch):
    """From scratch embeddings decay and learn together: of words that are seldom seen, chance is learnt first."""
    corpus = make_corpus(tmp_path)
    adapted: list[bool] = []
    begun: list[SpellingParts | None] = []
    dampings: list[float] = []

    def dropping(model: Any, family: str, rate: float) -> None:
        adapted.append(any("lora_A" in name for name, _ in model.named_parameters()))

    def grouping(model: Any, cfg: Any, spelling: SpellingParts | None, damping: float) -> Any:
        begun.append(spelling)
        dampings.append(damping)
        return make_optimizer(model, cfg, spelling, damping)

    monkeypatch.setattr("privllm.train.pretrain.add_dropout", dropping)
    monkeypatch.setattr("privllm.train.lightning_module.make_optimizer", grouping)
    run(tiny(), corpus, tmp_path / "scratch")
    foreign_model("causal", "llama", VOCABULARY).save_pretrained(tmp_path / "base")
    shutil.copyfile(corpus.tokenizer / "tokenizer.json", tmp_path / "base/tokenizer.json")
    write_json(tmp_path / "base" / NOTE, {"start": "data/base/x", "added": {}})
    run(tiny(from_base=FromBase(epochs=2.0)), corpus._replace(start=tmp_path / "base"), tmp_path / "based")
    assert adapted == [False, True]
    assert dampings[0] > 0
    from_scratch, from_base = begun
    assert from_base is None
    assert from_scratch is not None
    assert from_scratch.count > 10  # "word3" to "word47"
    assert from_scratch.spread(torch.ones(from_scratch.count, 1))[0] == 0  # the mark between documents


def test_general_text_is_read_beside_the_documents_of_a_base(tmp_path):
    """A share of the rows, from the beginning on; without a share none, and from scratch the file is not looked at."""
    corpus = make_corpus(tmp_path)
    base = tmp_path / "base"
    foreign_model("causal", "llama", VOCABULARY).save_pretrained(base)
    shutil.copyfile(corpus.tokenizer / "tokenizer.json", base / "tokenizer.json")
    write_json(base / NOTE, {"start": "data/base/x", "added": {}})
    texts = [NewText([0, *((7 * number + place) % 20 + 6 for place in range(CONTEXT - 1))]) for number in range(40)]
    write_general(ReplayConfig(), texts, base / GENERAL)
    corpus = corpus._replace(start=base)
    share = run(tiny(from_base=FromBase(learning_rate=0.005, epochs=9.0, replay=0.25)), corpus, tmp_path / "a")
    none = run(tiny(from_base=FromBase(learning_rate=0.005, epochs=9.0, replay=0.0)), corpus, tmp_path / "b")
    assert share["replayed"] == pytest.approx(0.25, abs=0.02)
    assert share["rows_known"] == len(read_general(base, READ))
    assert share["steps"] > none["steps"], "the documents are read as often as without it"
    assert none["replayed"] == 0
    weights = [(tmp_path / name / "out/model.safetensors").read_bytes() for name in ("a", "b")]
    assert weights[0] != weights[1]


def mark_copied(corpus: Corpus, tokens: int) -> None:
    """The first tokens of every validation row, each the row of a document without a name."""
    rows = [{"id": "", "begin": 0, "end": tokens}]
    write_table(pa.Table.from_pylist(rows, COPIED_TOKENS), corpus.rows / "copied/00000.parquet")


@pytest.mark.parametrize("family", MODELS)
def test_the_held_out_loss_is_of_what_is_not_copied(tmp_path, family):
    corpus = make_corpus(tmp_path)
    everything = run(tiny(), corpus, tmp_path / "all", family=family)
    mark_copied(corpus, 9)
    clean = run(tiny(), corpus, tmp_path / "clean", family=family)
    assert (everything["validation_on"], everything["validation_copied"]) == ("clean", 0)
    assert clean["validation_on"] == "clean"
    assert 0.5 < clean["validation_copied"] < 0.6
    assert clean["validation_loss"] != everything["validation_loss"]
    mark_copied(corpus, CONTEXT)  # nothing is left to choose weights by
    all_copied = run(tiny(), corpus, tmp_path / "copied", family=family)
    assert (all_copied["validation_on"], all_copied["validation_loss"]) == ("all", everything["validation_loss"])
