"""The whole stage on a tiny model: what is planted is learnt, what was known stays, and kills and absent feedback change no byte."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import privllm
from privllm.core.errors import UserError
from privllm.models.loading import load
from privllm.tokens.chat_format import Speech
from privllm.train.adapter_config import AdapterConfig
from privllm.train.align import training
from privllm.train.align.config import AlignConfig, AlignInputs, DpoConfig, SftConfig
from privllm.train.align.data import Material, read_material
from privllm.train.align.figures import compare, measure
from privllm.train.align.recipe import align
from privllm.train.loss_history import History
from tests.train import tiny_feedback
from tests.train.adapters import assert_only_adapters_learnt
from tests.train.striking import BETWEEN, starts, strike_at
from tests.train.tiny_feedback import make_feedback, make_inputs, places, row, said, tiny, write_lessons

CLEARLY = {"sft": SftConfig(0.01), "validation": 0.0}


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> AlignInputs:
    return make_inputs(tmp_path_factory.mktemp("align"))


def all_bytes(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def run(cfg: AlignConfig, inputs: AlignInputs, folder: Path) -> dict:
    return align("causal", cfg, inputs, places(folder))


@pytest.fixture(scope="module")
def learnt(inputs: AlignInputs, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    folder = tmp_path_factory.mktemp("learnt")
    return run(tiny(), inputs, folder), folder


def test_what_people_prefer_is_learnt_and_what_was_known_is_not_lost(learnt: tuple[dict, Path]) -> None:
    report, _ = learnt
    accuracy, text = report["preference_accuracy"], report["text_loss"]
    assert accuracy["after"] > 0.9 > 0.75 > accuracy["before"]
    assert 0 < accuracy["low"] <= accuracy["difference"] <= accuracy["high"]
    assert report["reward_accuracy"]["before"] == 0.5
    assert report["reward_accuracy"]["low"] > 0
    assert report["correction_loss"]["difference"] < 0
    assert "high" not in report["correction_loss"], "too few were kept back for an interval"
    assert text["before"] < 0.5  # it knew something
    assert text["difference"] < 0.1


def test_without_replay_it_would_be_lost(learnt: tuple[dict, Path], inputs: AlignInputs, tmp_path: Path) -> None:
    forgot = run(tiny(replay=0.0), inputs, tmp_path)["text_loss"]["difference"]
    assert forgot > 3 * max(0.02, learnt[0]["text_loss"]["difference"])


def test_files_counts_and_what_is_said_of_it(learnt: tuple[dict, Path], inputs: AlignInputs) -> None:
    report, folder = learnt
    assert sorted(all_bytes(folder)) == [
        *(
            f"live/{part}/{name}"
            for part in ("dpo", "sft")
            for name in ("metrics.json", *(f"plots/metrics/{x}/loss.tsv" for x in ("train", "validation")))
        ),
        *(f"out/{name}" for name in ("config.json", "generation_config.json", "model.safetensors")),
        *(f"out/{name}" for name in ("tokenizer.json", "tokenizer_config.json", "training.json")),
    ]
    rows = {
        name: len((inputs.feedback / f"{name}.jsonl").read_bytes().splitlines())
        for name in ("sft", "preferences", "held_out")
    }
    assert report["training"]["corrections"] == {"rows": rows["sft"], "used": rows["sft"], "dropped": {}}
    assert report["training"]["preferences"]["used"] == rows["preferences"] + rows["sft"], (
        "a correction is a preference too"
    )
    held = report["held_out"]
    assert held["preferences"]["rows"] + held["other"] == rows["held_out"]
    for part in ("sft", "dpo"):
        lessons = rows["sft"] + rows["preferences"]
        assert report[part]["lessons"] + report[part]["validation"] == lessons
        assert report[part]["validation"] > 0
    assert report["people"] == 2
    facts = json.loads((folder / "out/training.json").read_text())
    assert (facts["chat"], facts["config"]) == (True, {"seed": 0})
    assert facts["align"]["sft"] == report["sft"]


def die_at(step: int, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Die inside `step` of a part, after its losses were written and before its checkpoint is."""
    record = History.on_train_batch_end

    def dying(self, trainer, module, *args):
        record(self, trainer, module, *args)
        if trainer.global_step == step and module.objective.section == f"align.{part}":
            raise Killed

    monkeypatch.setattr(History, "on_train_batch_end", dying)


@pytest.mark.parametrize(("part", "step", "begun_again"), [("sft", 12, [11, 0]), ("dpo", 3, [2]), ("dpo", 20, [19])])
def test_interrupted_anywhere_and_started_again_gives_the_same_bytes(
    inputs, tmp_path, learnt, monkeypatch, part, step, begun_again
) -> None:
    with monkeypatch.context() as patched:
        die_at(step, part, patched)
        with pytest.raises(Killed):
            run(tiny(), inputs, tmp_path)
    assert not (tmp_path / "out").exists()
    shutil.rmtree(tmp_path / "live", ignore_errors=True)  # as DVC does before a stage
    begun = starts(monkeypatch)
    assert run(tiny(), inputs, tmp_path) == learnt[0]
    assert all_bytes(tmp_path) == all_bytes(learnt[1])
    assert [at for _, at in begun] == begun_again  # what was done is not done again


@pytest.mark.parametrize(
    ("part", "moment", "step"), [("sft", "forward", 9), ("dpo", "backward", 13), ("dpo", "update", 13)]
)
def test_a_signal_in_mid_step_loses_no_whole_one(inputs, tmp_path, learnt, monkeypatch, part, moment, step) -> None:
    whole = step - (moment in BETWEEN)
    rarely = places(tmp_path)._replace(seconds=math.inf)
    with monkeypatch.context() as patched:
        struck = strike_at(moment, step, patched, f"align.{part}")
        with pytest.raises(KeyboardInterrupt, match=f"step {whole} of "):
            align("causal", tiny(), inputs, rarely)
        assert struck()
    begun = starts(monkeypatch)
    assert align("causal", tiny(), inputs, rarely) == learnt[0]
    assert all_bytes(tmp_path) == all_bytes(learnt[1])
    assert [at for _, at in begun] == ([whole, 0] if part == "sft" else [whole])


def test_dropout_is_on_from_the_first_step_and_when_a_run_goes_on(inputs, tmp_path, monkeypatch) -> None:
    """A model that was loaded is in eval mode."""
    start = tmp_path / "start"
    shutil.copytree(inputs.start, start)
    facts = json.loads((start / "training.json").read_text())
    cfg, given = tiny(dpo=DpoConfig(epochs=0.1)), inputs._replace(start=start)
    (start / "training.json").write_text(json.dumps(facts | {"dropout": 0.3}))
    modes = []
    record = History.on_train_batch_end

    def watching(self, trainer, module, *args):
        modes.append(module.model.training)
        record(self, trainer, module, *args)

    with monkeypatch.context() as patched:
        patched.setattr(History, "on_train_batch_end", watching)
        run(cfg, given, tmp_path / "whole")
    assert modes
    assert all(modes)
    for step in (1, 3, 7):  # none is followed by a validation, which would set the mode
        with monkeypatch.context() as patched:
            strike_at("update", step, patched, "align.sft")
            with pytest.raises(KeyboardInterrupt):
                run(cfg, given, tmp_path / "broken")
    run(cfg, given, tmp_path / "broken")
    assert all_bytes(tmp_path / "broken") == all_bytes(tmp_path / "whole")


def test_killed_with_signal_nine_and_started_again_gives_the_same_bytes(inputs, tmp_path, learnt) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from tests.train.align.test_recipe import AlignInputs, History, run, tiny
record = History.on_train_batch_end
def dying(self, trainer, module, *args):
    record(self, trainer, module, *args)
    if trainer.global_step == 18 and module.objective.section == "align.dpo":
        os.kill(os.getpid(), signal.SIGKILL)
History.on_train_batch_end = dying
run(tiny(), AlignInputs(*map(Path, sys.argv[1:5])), Path(sys.argv[5]))
"""
    environment = os.environ | {"PYTHONPATH": str(Path(privllm.__file__).parents[1])}
    command = [sys.executable, "-c", script, *map(str, inputs), str(tmp_path)]
    died = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert died.returncode == -signal.SIGKILL, died.stderr
    run(tiny(), inputs, tmp_path)
    assert all_bytes(tmp_path) == all_bytes(learnt[1])


def test_of_other_parameters_nothing_is_taken_up(inputs, tmp_path, monkeypatch) -> None:
    with monkeypatch.context() as patched:
        die_at(3, "dpo", patched)
        with pytest.raises(Killed):
            run(tiny(), inputs, tmp_path)
    begun = starts(monkeypatch)
    run(tiny(seed=1), inputs, tmp_path)
    assert begun == [("align.sft", 0), ("align.dpo", 0)]


@pytest.mark.parametrize("family", ["causal", "masked"])
def test_without_feedback_the_same_bytes_go_on(inputs: AlignInputs, tmp_path: Path, capsys, family: str) -> None:
    feedback = write_lessons(tmp_path / "none") if family == "causal" else inputs.feedback
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old").write_text("")
    report = align(family, tiny(), inputs._replace(feedback=feedback), places(tmp_path))
    assert all_bytes(tmp_path / "out") == all_bytes(inputs.start)
    assert not report["aligned"]
    assert report["passed_through"] in capsys.readouterr().out
    assert json.loads((tmp_path / "live/passed_through.json").read_text()) == {
        "passed_through": report["passed_through"]
    }


def test_passing_through_needs_no_torch(inputs: AlignInputs, tmp_path: Path) -> None:
    feedback = write_lessons(tmp_path / "none", sft=[row(0, 0.0, reply="Ada")])
    script = """
import sys
from pathlib import Path
from privllm.train.align.config import AlignConfig, AlignInputs, Places
from privllm.train.align.recipe import align
paths = list(map(Path, sys.argv[1:]))
report = align("causal", AlignConfig(), AlignInputs(*paths[:4]), Places(*paths[4:], "code"))
assert report["training"]["corrections"] == {"rows": 1, "used": 0, "dropped": {"weightless": 1}}, report
assert not {"torch", "transformers", "lightning"} & set(sys.modules)
"""
    given = [*inputs._replace(feedback=feedback), *places(tmp_path)[:3]]
    environment = os.environ | {"PYTHONPATH": str(Path(privllm.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, given)], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert all_bytes(tmp_path / "out") == all_bytes(inputs.start)


def test_lessons_that_cannot_be_used_are_counted_and_the_rest_is_learnt(inputs: AlignInputs, tmp_path: Path) -> None:
    preferences = [
        row(0, chosen="Ada walks", rejected="Bob walks"),
        row(1, chosen="Ada " * 60, rejected="Bob"),
        row(2, chosen="Ada", rejected="Ada"),
        row(3, 0.0, chosen="Ada", rejected="Bob"),
        row(4, chosen="Ada sings", rejected=" "),
        row(5, question="red stone " * 40, chosen="Ada", rejected="Eve"),
        row(6, chosen="Ada", rejected="Eve")
        | {"prompt": [{"role": "system", "content": "be"}, {"role": "user", "content": "red"}]},  # is read too
    ]
    report = run(
        tiny(validation=0.0),
        inputs._replace(feedback=write_lessons(tmp_path / "clean", preferences=preferences)),
        tmp_path,
    )
    dropped = {"empty": 1, "same": 1, "too_long": 1, "weightless": 1}
    assert report["training"]["preferences"] == {"rows": 7, "used": 3, "dropped": dropped}
    assert (report["cut"], report["dpo"]["lessons"], report["dpo"]["validation_loss"]) == (1, 3, None)
    assert not {"preference_accuracy", "reward_accuracy", "correction_loss"} & set(report)


def test_what_was_preferred_or_written_is_imitated_and_never_what_was_rejected(inputs: AlignInputs) -> None:
    speech, material = Speech(inputs.tokenizer), read_material(tiny(), inputs)
    sft, dpo = training.phases_of(tiny(), material)
    lessons = [*sft.train, *sft.validation]
    assert len(lessons) == len(material.training.corrections.kept) + len(
        material.training.preferences.kept
    ) - corrected(material)
    for lesson in lessons:
        (reply,) = lesson.replies
        assert tiny_feedback.LIKED in speech.text(reply)
    for lesson in [*dpo.train, *dpo.validation]:
        chosen, rejected = map(speech.text, lesson.replies)
        assert tiny_feedback.LIKED in chosen
        assert tiny_feedback.LIKED not in rejected


def corrected(material: Material) -> int:
    """Corrections are preferences too, and imitated once."""
    corrections, preferences = ({lesson.id for lesson, _ in part.kept} for part in material.training[:2])
    return len(corrections & preferences)


def test_a_preferred_reply_weighs_less_than_a_correction(inputs: AlignInputs) -> None:
    material = read_material(tiny(), inputs)
    full, half = (training.phases_of(tiny(sft=SftConfig(preferred=share)), material)[0] for share in (1.0, 0.5))
    shares = [less.weight / more.weight for less, more in zip(half.train, full.train, strict=True)]
    assert set(shares) == {0.5, 1.0}


def test_corrections_alone_are_imitated(inputs: AlignInputs, tmp_path: Path) -> None:
    feedback = write_lessons(tmp_path / "clean", sft=[row(i, reply="Ada walks") for i in range(8)])
    report = run(tiny(**CLEARLY), inputs._replace(feedback=feedback), tmp_path)
    assert "dpo" not in report
    assert sorted(path.name for path in (tmp_path / "live").iterdir()) == ["sft"]
    reply = answer(tmp_path / "out", inputs.tokenizer, "red 3")
    assert reply == "Ada walks"


def test_conversations_alone_are_imitated(inputs: AlignInputs, tmp_path: Path) -> None:
    told = {"role": "system", "content": "be"}
    rows = [row(i, reply="Ada walks") for i in range(8)]
    for one in rows:
        one["prompt"].insert(0, told)
    feedback = write_lessons(tmp_path / "clean", chat=rows)
    report = run(tiny(**CLEARLY), inputs._replace(feedback=feedback), tmp_path)
    assert report["training"]["corrections"]["used"] == 8
    assert answer(tmp_path / "out", inputs.tokenizer, "be\n\nred 3") == "Ada walks"


def answer(model: Path, tokenizer: Path, question: str) -> str:
    """As `serve` would ask, greedily."""
    speech = Speech(tokenizer)
    prompt = torch.tensor([speech.prompt([("user", question)])])
    written = load("causal", model).generate(prompt, max_new_tokens=8, do_sample=False)
    return speech.text(written[0, prompt.shape[1] :].tolist())


def test_preferences_alone_without_imitation_are_dpo_from_the_start(inputs: AlignInputs, tmp_path: Path) -> None:
    cfg = tiny(sft=SftConfig(preferred=0.0), dpo=DpoConfig(0.02), lora=AdapterConfig(rank=4))
    feedback = make_feedback(tmp_path / "said", *said(corrections=0))
    report = run(cfg, inputs._replace(feedback=feedback), tmp_path)
    assert "sft" not in report
    assert report["preference_accuracy"]["difference"] > 0
    before, after = (load("causal", folder).state_dict() for folder in (inputs.start, tmp_path / "out"))
    assert_only_adapters_learnt(before, after)


def test_lessons_of_one_conversation_are_all_learnt_though_it_would_be_for_validation(
    inputs: AlignInputs, tmp_path: Path
) -> None:
    feedback = write_lessons(tmp_path / "clean", sft=[row(i, question="red", reply=f"Ada {i}") for i in range(4)])
    for share in (0.0, 0.5):
        report = run(tiny(validation=share), inputs._replace(feedback=feedback), tmp_path)
        assert (report["sft"]["lessons"], report["sft"]["validation"], report["conversations_for_validation"]) == (
            4,
            0,
            0,
        )


def test_weights_decide_between_people_who_disagree(inputs: AlignInputs, tmp_path: Path) -> None:
    both = [
        row(i, weight, question=f"red {i}", reply=reply)
        for i in range(12)
        for weight, reply in ((0.9, "Ada walks"), (0.05, "Bob sings"))
    ]
    run(tiny(**CLEARLY), inputs._replace(feedback=write_lessons(tmp_path / "clean", sft=both)), tmp_path)
    assert answer(tmp_path / "out", inputs.tokenizer, "red 3") == "Ada walks"


def test_figures_of_a_model_beside_itself_do_not_differ(inputs: AlignInputs) -> None:
    material = read_material(tiny(), inputs)
    model = load("causal", inputs.start)
    judged = measure(model, material.held_out, training._text(tiny(), model, inputs), 4)
    report = compare(judged, judged, material.held_out)
    assert report["text_loss"]["difference"] == 0
    for name in ("preference_accuracy", "reward_accuracy"):
        assert [report[name][key] for key in ("difference", "low", "high")] == [0, 0, 0]
    for name in ("preference_accuracy", "reward_accuracy", "correction_loss"):
        assert report[name]["difference"] == 0
        assert 0 < report[name]["conversations"] <= report[name]["judged"]


def test_wrong_parameters_are_explained() -> None:
    for make, part in (
        (lambda: AlignConfig(replay=-1), "align.replay"),
        (lambda: AlignConfig(validation=0.6), "align.validation"),
        (lambda: SftConfig(preferred=2), "align.sft.preferred"),
        (lambda: SftConfig(epochs=0), "align.sft"),
        (lambda: DpoConfig(beta=0), "align.dpo.beta"),
        (lambda: DpoConfig(learning_rate=0), "align.dpo"),
    ):
        with pytest.raises(UserError, match=part):
            make()


def test_the_planted_words_are_what_they_should_be() -> None:
    assert all(
        tiny_feedback.LIKED in good and tiny_feedback.LIKED not in bad
        for good, bad in map(tiny_feedback.replies, range(20))
    )
