"""The whole stage on tiny models, every kind with every family that can do it: same bytes however often it was interrupted."""

import json
import math
import shutil
from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from privllm.core.errors import UserError
from privllm.core.tables import read_table
from privllm.engine.extensions import Extensions
from privllm.models.task_heads import CLASSES
from privllm.tasks.example_scores import FILE
from privllm.train.finetune import FinetuneConfig, FinetuneInputs, finetune
from privllm.train.loop import Work
from privllm.train.loss_history import History
from privllm.train.predict_lines import open_tuned
from tests.extend import make_extended
from tests.train import tiny_tasks
from tests.train.adapters import assert_only_adapters_learnt
from tests.train.striking import BETWEEN, starts, strike_at
from tests.train.tiny_tasks import example, make_start, make_tokenizer, tiny, write_examples

PAIRS = sorted(CLASSES)


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tokenizer/, <family>/ and <kind>.jsonl"""
    root = tmp_path_factory.mktemp("finetune")
    tokenizer = make_tokenizer(root / "tokenizer")
    for family in tiny_tasks.MODELS:
        make_start(family, root / family, tokenizer)
    for kind in ("classification", "tokens", "text2text", "chat"):
        write_examples(root / f"{kind}.jsonl", kind)
    return root


def run(
    cfg: FinetuneConfig, shop: Path, place: Path, data: Path | None = None, code: str = "code", seconds: float = 0.0
) -> dict:
    """With a checkpoint after every step, unless `seconds` says otherwise."""
    inputs = FinetuneInputs(data or shop / f"{cfg.kind}.jsonl", shop / cfg.family)
    return finetune("mine", cfg, inputs, place / "out", place / "live", Work(place / "work" / "mine", code, seconds))


def all_bytes(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(("kind", "family"), PAIRS)
def test_every_kind_with_every_family(shop: Path, tmp_path: Path, kind: str, family: str) -> None:
    report = run(tiny(kind, family), shop, tmp_path)
    counts = report["examples"]
    assert counts["lines"] == counts["examples"] == counts["train"] + counts["validation"] + counts["test"] == 60
    assert report["test"][report["main"]] >= 0
    predictions = [json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    assert len(predictions) == min(counts["test"], counts["test"] if kind in ("classification", "tokens") else 8)
    loaded = CLASSES[kind, family].from_pretrained(tmp_path / "out", local_files_only=True, use_safetensors=True)
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("red")["input_ids"]
    if kind == "tokens":
        assert loaded.config.id2label == {0: "O", 1: "B-WHO", 2: "I-WHO"}
    assert not (tmp_path / "work/mine").exists()


def test_a_start_without_its_tokenizer_is_refused(shop: Path, tmp_path: Path) -> None:
    start = Path(shutil.copytree(shop / "causal", tmp_path / "start"))
    (start / "tokenizer.json").unlink()
    inputs = FinetuneInputs(shop / "classification.jsonl", start)
    with pytest.raises(UserError, match=r"start has no tokenizer\.json.*`start` of `finetune\.tasks\.mine`"):
        finetune(
            "mine",
            tiny("classification", "causal"),
            inputs,
            tmp_path / "out",
            tmp_path / "live",
            Work(tmp_path / "work", "code"),
        )


def test_what_is_saved_says_what_was_predicted(shop: Path, tmp_path: Path) -> None:
    """By transformers' own pipeline, which knows nothing of ours but the folder."""
    run(tiny("classification", "causal", epochs=6.0), shop, tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert sorted(model.config.label2id) == ["blue", "green", "red"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    asked = {
        line["id"]: line["predicted"]
        for line in map(json.loads, (tmp_path / "out/predictions.jsonl").read_text().splitlines())
    }
    from privllm.tasks.read_dataset import read_examples

    examples = {e.id: e.content.text for e in read_examples(shop / "classification.jsonl", "classification").examples}
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer)
    for identifier, predicted in list(asked.items())[:5]:
        assert classify(f"<|endoftext|>{examples[identifier]}<|endoftext|>")[0]["label"] == predicted


@pytest.fixture(scope="module")
def unbroken(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    place = tmp_path_factory.mktemp("unbroken")
    run(tiny("classification", "masked", compare_random=True), shop, place)
    return all_bytes(place)


def die_at(step: int, arm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Die inside `step` of one arm, after its losses were written and before its checkpoint is."""
    record = History.on_train_batch_end

    def dying(self, trainer, module, *args):
        record(self, trainer, module, *args)
        if trainer.global_step == step and module.objective.section.endswith("(random start)") == (arm == "random"):
            raise Killed

    monkeypatch.setattr(History, "on_train_batch_end", dying)


@pytest.mark.parametrize(("arm", "step"), [("random", 12), ("start", 12)])
def test_interrupted_anywhere_and_started_again_gives_the_same_bytes(
    shop, tmp_path, unbroken, monkeypatch, arm, step
) -> None:
    cfg = tiny("classification", "masked", compare_random=True)
    with monkeypatch.context() as patched:
        die_at(step, arm, patched)
        with pytest.raises(Killed):
            run(cfg, shop, tmp_path)
    assert not (tmp_path / "out").exists()
    begun = starts(monkeypatch)
    run(cfg, shop, tmp_path)
    assert all_bytes(tmp_path) == unbroken
    # What was done is not done again.
    assert [at for _, at in begun] == ([11, 0] if arm == "random" else [11])


@pytest.mark.parametrize(
    ("section", "moment", "step"),
    [("(random start)", "forward", 7), (".mine", "backward", 9), (".mine", "measured", 12)],
)
def test_a_signal_in_mid_step_loses_no_whole_one(shop, tmp_path, unbroken, monkeypatch, section, moment, step) -> None:
    cfg, whole = tiny("classification", "masked", compare_random=True), step - (moment in BETWEEN)
    with monkeypatch.context() as patched:
        struck = strike_at(moment, step, patched, section)
        with pytest.raises(KeyboardInterrupt, match=f"step {whole} of "):
            run(cfg, shop, tmp_path, seconds=math.inf)
        assert struck()
    begun = starts(monkeypatch)
    run(cfg, shop, tmp_path, seconds=math.inf)
    assert all_bytes(tmp_path) == unbroken
    assert [at for _, at in begun] == ([whole, 0] if section == "(random start)" else [whole])


@pytest.mark.parametrize("name", ["judge", "_save"])
def test_what_comes_after_training_is_done_without_training_again(shop, tmp_path, unbroken, monkeypatch, name) -> None:
    from privllm.train import finetune as module

    cfg, original, calls = tiny("classification", "masked", compare_random=True), getattr(module, name), []

    def dying(*args: object) -> object:
        calls.append(args)
        if len(calls) == (2 if name == "judge" else 1):  # the first is the random start's
            raise KeyboardInterrupt
        return original(*args)

    with monkeypatch.context() as patched:
        patched.setattr(module, name, dying)
        with pytest.raises(KeyboardInterrupt):
            run(cfg, shop, tmp_path, seconds=math.inf)
    shutil.rmtree(tmp_path / "live")  # as DVC does before a stage
    begun = starts(monkeypatch)
    run(cfg, shop, tmp_path, seconds=math.inf)
    assert all_bytes(tmp_path) == unbroken
    ((section, at),) = begun
    assert section == "finetune.tasks.mine"
    assert at > 10


def test_a_judgement_of_the_random_start_that_was_half_written_is_made_again(
    shop, tmp_path, unbroken, monkeypatch
) -> None:
    from privllm.train import finetune as module

    def half(path: Path, value: object) -> None:
        path.write_text('{"key": ')
        raise KeyboardInterrupt

    cfg = tiny("classification", "masked", compare_random=True)
    with monkeypatch.context() as patched:
        patched.setattr(module, "write_json", half)
        with pytest.raises(KeyboardInterrupt):
            run(cfg, shop, tmp_path, seconds=math.inf)
    begun = starts(monkeypatch)
    run(cfg, shop, tmp_path, seconds=math.inf)
    assert all_bytes(tmp_path) == unbroken
    assert begun[0][1] > 10  # the random start was trained already


def test_adapters_are_merged_and_leave_the_rest_as_it_was(shop: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    cfg = tiny("text2text", "causal")
    cfg.lora.rank = 2
    run(cfg, shop, tmp_path)
    before, after = load_file(shop / "causal/model.safetensors"), load_file(tmp_path / "out/model.safetensors")
    assert_only_adapters_learnt(before, after)


def test_a_task_that_is_learnt_is_told_apart_from_chance(shop: Path, tmp_path: Path) -> None:
    """The colour in a text is its label: of three classes any start learns that."""
    lines = [json.dumps(example("classification", i)) for i in range(200)]
    (tmp_path / "many.jsonl").write_text("\n".join(lines))
    report = run(tiny("classification", "masked", epochs=4.0), shop, tmp_path, tmp_path / "many.jsonl")
    assert report["test"]["accuracy"] > 0.7


def test_what_does_not_suffice_is_an_error_or_where_it_may_be_a_note(shop: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(UserError, match=r"empty\.jsonl holds no examples"):
        run(tiny("classification", "masked"), shop, tmp_path, tmp_path / "empty.jsonl")
    report = run(tiny("classification", "masked", optional=True), shop, tmp_path, tmp_path / "empty.jsonl")
    assert "holds no examples" in report["skipped"]
    assert "note: finetune.tasks.mine is skipped" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["skipped.json"]
    same = [example("classification", i) | {"label": "one"} for i in range(60)]
    (tmp_path / "one.jsonl").write_text("".join(json.dumps(line) + "\n" for line in same))
    with pytest.raises(UserError, match=r"one\.jsonl has one class only .* from line \d+ on"):
        run(tiny("classification", "masked"), shop, tmp_path, tmp_path / "one.jsonl")


def test_examples_are_cut_at_max_length_and_so_are_later_inputs(shop: Path, tmp_path: Path) -> None:
    counts = {}
    for length in (6, 2048):
        report = run(tiny("classification", "masked", max_length=length), shop, tmp_path / str(length))
        counts[length] = report["examples"]["cut"]
    assert counts[6] > counts[2048] == 0
    assert open_tuned(tmp_path / "6/out").context == 6
    assert open_tuned(tmp_path / "2048/out").context == tiny_tasks.CONTEXT, "no more than the model sees"


@pytest.mark.parametrize("family", ["causal", "seq2seq"])
def test_an_answer_longer_than_the_context_costs_its_line_and_is_named(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], family: str
) -> None:
    lines = [example("text2text", i) for i in range(60)]
    lines[41]["output"] = "red " * 40
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "{half")
    report = run(tiny("text2text", family), shop, tmp_path, tmp_path / "long.jsonl")
    counts = report["examples"]
    assert (counts["lines"], counts["skipped"], counts["examples"]) == (61, 2, 59)
    assert counts["train"] + counts["validation"] + counts["test"] == 59
    assert report["data"]["skipped"] == {"answer_too_long": 1, "not_json": 1}
    assert list(report["data"]["skipped_rows"]) == ["line 42", "line 61"]
    said = capsys.readouterr().err
    assert "long.jsonl, line 42: its answer needs" in said
    assert "2 lines of" in said


@pytest.mark.parametrize(("kind", "family"), [("chat", "causal"), ("classification", "masked"), ("tokens", "masked")])
def test_the_report_holds_the_baselines_and_the_terminal_says_who_is_stronger(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, family: str
) -> None:
    report = run(tiny(kind, family), shop, tmp_path)
    baselines = report["baselines"]
    assert baselines["strongest"] in baselines["scores"]
    for scores in baselines["scores"].values():
        assert scores.keys() == report["test"].keys() - {"loss"}
    said = capsys.readouterr().err
    for sentence in baselines["sentences"]:
        assert f"finetune@mine: {sentence}" in said
    assert json.loads((tmp_path / "out/training.json").read_text())["baselines"] == baselines


def test_wrong_parameters_are_explained(shop: Path) -> None:
    for changes, part in (
        ({"family": "seq2seq"}, "causal, masked"),
        ({"kind": "speech"}, "classification, tokens"),
        ({"generated": -1}, "generated"),
    ):
        with pytest.raises(UserError, match=part):
            FinetuneConfig(**changes)
    with pytest.raises(UserError, match="adamw or adamw8 where"):
        FinetuneConfig(lora=type(FinetuneConfig().lora)(rank=2), optimizer="muon")


@pytest.mark.parametrize("kind", ["chat", "classification", "tokens"])
def test_a_score_of_an_extension_stands_beside_ours(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """With the difference and its interval, and a value for each example."""
    project = make_extended(tmp_path / "project", monkeypatch)
    code = "TASK_SCORES = {'lengths': TaskScore(('chat', 'classification', 'tokens'), lambda a, b: len(a) == len(b))}\n"
    project.write("extensions/house.py", f"from privllm.tasks.own_scores import TaskScore\n\n{code}")
    cfg = tiny(kind, "masked" if kind == "tokens" else "causal", compare_random=True)
    inputs = FinetuneInputs(shop / f"{kind}.jsonl", shop / cfg.family)
    work = Work(tmp_path / "work/mine", "code", 0.0)
    extensions = Extensions("", ("extensions.house",))
    report = finetune("mine", cfg, inputs, tmp_path / "out", tmp_path / "live", work, extensions)
    for figures in (report["test"], report["random"]):
        assert 0 <= figures["lengths"] <= 1
    assert report["difference"]["lengths"].keys() >= {"difference", "better"}
    rows = read_table(tmp_path / "out" / FILE).to_pylist()
    predictions = (tmp_path / "out/predictions.jsonl").read_text().splitlines()
    assert [row["score"] for row in rows].count("lengths") == len(predictions)


def test_a_score_that_fails_does_not_wait_for_the_training(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_extended(tmp_path / "project", monkeypatch)
    code = "TASK_SCORES = {'mine': TaskScore(('chat',), lambda a, b: a / b)}\n"
    project.write("extensions/house.py", f"from privllm.tasks.own_scores import TaskScore\n\n{code}")
    monkeypatch.setattr("privllm.train.finetune.train", lambda *_: pytest.fail("it has trained"))
    inputs = FinetuneInputs(shop / "chat.jsonl", shop / "causal")
    work = Work(tmp_path / "work/mine", "code", 0.0)
    with pytest.raises(UserError, match=r"extensions/house.py, line 3: `mine` failed on an answer: TypeError"):
        finetune(
            "mine",
            tiny("chat", "causal"),
            inputs,
            tmp_path / "out",
            tmp_path / "live",
            work,
            Extensions("", ("extensions.house",)),
        )
