import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from privllm.core.errors import UserError
from privllm.core.params import load_sections
from privllm.engine.pipeline import declared_stages, look_up, outputs_of
from privllm.export.config import ExportConfig
from privllm.export.folder import ExportInputs, _checked_ids, digests_of, export
from privllm.models.loading import MODELS
from privllm.parameters.sections import SECTIONS, effective_values
from stages import export as stage
from tests.foreign import BERT_NAMES, wordpiece_tokenizer
from tests.workshop import ROOT


def test_stock_transformers_loads_and_generates(export_inputs: ExportInputs, tmp_path: Path) -> None:
    report = export(ExportConfig(), export_inputs, "causal", tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    made = model.generate(**tokenizer("the page", return_tensors="pt"), max_new_tokens=4, do_sample=False)
    assert made.shape[1] <= len(tokenizer("the page")["input_ids"]) + 4
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert chat == "<|endoftext|><|user|>hi<|end|><|assistant|>"
    assert report["parameters"] == model.num_parameters()
    assert report["logit_difference"] < 1e-3


def test_same_bytes_twice_and_nothing_of_this_machine(export_inputs: ExportInputs, tmp_path: Path) -> None:
    reports = [export(ExportConfig(), export_inputs, "causal", tmp_path / name) for name in "ab"]
    assert reports[0] == reports[1]
    for path in sorted((tmp_path / "a").iterdir()):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
        if path.suffix != ".safetensors":
            assert str(export_inputs.model.parent) not in path.read_text("utf-8")


def test_the_adapter_of_a_model_goes_with_it(export_inputs: ExportInputs, tmp_path: Path) -> None:
    """Where there is one, byte for byte; `align` leaves none where it taught the weights themselves."""
    shutil.copytree(export_inputs.model, tmp_path / "model")
    (tmp_path / "model/adapter").mkdir()
    (tmp_path / "model/adapter/adapter_config.json").write_text("{}", "utf-8")
    with_adapter = export(ExportConfig(), replace(export_inputs, model=tmp_path / "model"), "causal", tmp_path / "a")
    assert (tmp_path / "a/adapter/adapter_config.json").read_text("utf-8") == "{}"
    without = export(ExportConfig(), export_inputs, "causal", tmp_path / "b")
    assert not (tmp_path / "b/adapter").exists()
    assert with_adapter["bytes"] == without["bytes"] + 2


def test_card_and_provenance_say_what_it_is(export_inputs: ExportInputs, tmp_path: Path) -> None:
    report = export(ExportConfig(name="Handbook | model"), export_inputs, "causal", tmp_path)
    card, provenance = (
        (tmp_path / "README.md").read_text("utf-8"),
        json.loads((tmp_path / "provenance.json").read_text("utf-8")),
    )
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "| held-out perplexity | 12.5 |" in card
    assert "| `pretrain.model.width` | `32` |" in card
    assert all(f"`{value}`" in card for value in report["digests"].values())
    assert provenance["digests"] == report["digests"]
    assert provenance["params"]["pretrain"]["seed"] == 3


def test_data_digest_follows_the_bytes(export_inputs: ExportInputs, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(export_inputs.documents, copy)
    same = export(ExportConfig(), replace(export_inputs, documents=copy), "causal", tmp_path / "same")
    (copy / "00001.parquet").write_bytes((copy / "00000.parquet").read_bytes())
    other = export(ExportConfig(), replace(export_inputs, documents=copy), "causal", tmp_path / "other")
    assert same["digests"] == export(ExportConfig(), export_inputs, "causal", tmp_path / "base")["digests"]
    assert {key for key in same["digests"] if same["digests"][key] != other["digests"][key]} == {"data"}


def test_a_missing_model_is_named(export_inputs: ExportInputs, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        export(ExportConfig(), replace(export_inputs, model=tmp_path / "nowhere"), "causal", tmp_path / "out")


@pytest.mark.parametrize("family", ["masked", "seq2seq"])
def test_every_family_loads_by_its_auto_class_with_equal_logits(
    export_inputs: ExportInputs, tmp_path: Path, family: str
) -> None:
    inputs = replace(export_inputs, model=export_inputs.model.parent / family)
    assert export(ExportConfig(), inputs, family, tmp_path)["logit_difference"] < 1e-3
    card = (tmp_path / "README.md").read_text("utf-8")
    code = card.split("```python\n")[1].split("```")[0].replace(f"data/export/{family}", str(tmp_path))
    exec(code, {"print": lambda text: None})  # the card's own example
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert len(tokenizer) == MODELS[family].auto_class.from_pretrained(tmp_path).config.vocab_size


def test_only_a_causal_model_is_said_to_chat(export_inputs: ExportInputs, tmp_path: Path) -> None:
    inputs = replace(export_inputs, model=export_inputs.model.parent / "masked")
    assert export(ExportConfig(chat=True), inputs, "masked", tmp_path)["chat"] is False
    assert "It was not tuned to answer questions." in (tmp_path / "README.md").read_text("utf-8")


def test_a_model_that_was_aligned_is_served_as_it_was_taught(export_inputs: ExportInputs, tmp_path: Path) -> None:
    """Whatever `export.chat` says: `align` notes in training.json that it taught turns."""
    model = tmp_path / "model"
    shutil.copytree(export_inputs.model, model)
    (model / "training.json").write_text(json.dumps({"chat": True}))
    judged = {"judged": 40, "before": 0.5, "after": 0.75, "low": 0.1, "high": 0.4}
    aligned = {
        "aligned": True,
        "people": 2,
        "training": {"corrections": {"used": 3}, "preferences": {"used": 1200}},
        "preference_accuracy": judged,
    }
    (tmp_path / "align.json").write_text(json.dumps(aligned))
    inputs = replace(export_inputs, model=model, reports={**export_inputs.reports, "align": tmp_path / "align.json"})
    assert export(ExportConfig(), inputs, "causal", tmp_path / "out")["chat"]
    assert json.loads((tmp_path / "out/provenance.json").read_text("utf-8"))["chat"]
    card = (tmp_path / "out/README.md").read_text("utf-8")
    assert "learnt from 3 corrections and 1,200 preferences (people whose words counted: 2" in card
    assert "it agrees with 75%, before with 50%; the 95 % interval of the difference is +10.0% to +40.0%" in card
    few = {key: value for key, value in judged.items() if key not in ("low", "high")}
    (tmp_path / "align.json").write_text(json.dumps(aligned | {"preference_accuracy": few}))
    export(ExportConfig(), inputs, "causal", tmp_path / "few")
    assert "before with 50%; too few for an interval" in (tmp_path / "few/README.md").read_text("utf-8")
    (model / "training.json").write_text(json.dumps({"chat": False}))
    assert not export(ExportConfig(), inputs, "causal", tmp_path / "plain")["chat"]


def test_a_template_beside_the_tokenizer_goes_with_it(export_inputs: ExportInputs, tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokenizer"
    shutil.copytree(export_inputs.tokenizer, tokenizer)
    (tokenizer / "chat_template.jinja").write_text("{{ messages[0].content }}")
    export(ExportConfig(), replace(export_inputs, tokenizer=tokenizer), "causal", tmp_path / "out")
    assert (tmp_path / "out/chat_template.jinja").read_text() == "{{ messages[0].content }}"


FAMILIES = ("causal", "masked", "seq2seq")
DECLARED = declared_stages(ROOT)
STOPS = "data/validate/verdict.json"  # it decides whether there is a model, not which


def upstream(stage: str) -> set[str]:
    """The stages that a stage's result comes from, itself included, by what dvc.yaml declares."""
    made_by = {path: name for name, declared in DECLARED.items() for path in outputs_of(declared)}
    found, waiting = set(), [stage]
    while waiting:
        name = waiting.pop()
        found.add(name)
        makers = {
            made_by[path] for path in made_by for dep in DECLARED[name]["deps"] if f"{dep}/".startswith(f"{path}/")
        }
        waiting += makers - found
    return found


def test_what_is_upstream_is_found() -> None:
    assert {"collect", "annotate", "feedback", "start", "guide", "pretrain@causal", "align@causal"} <= upstream(
        "align@causal"
    )
    assert not {"evaluate@causal", "gate", "tasks", "pretrain@masked"} & upstream("align@causal")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_code_of_every_stage_before_the_weights_is_digested(family: str) -> None:
    """`evaluate` besides, for the card's figures. The fingerprint stage only says what code is."""
    before = {name.partition("@")[0] for name in upstream(f"align@{family}")} - {"fingerprint"}
    assert set(stage.DECIDES) == before | {"evaluate"}
    assert {f"data/fingerprint/{name}.json" for name in stage.DECIDES} <= set(DECLARED[f"export@{family}"]["deps"])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_before_the_weights_is_in_the_card(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    taken: list[ExportInputs] = []
    monkeypatch.setattr(stage, "read_params", lambda section, schema: schema())
    monkeypatch.setattr(stage, "export", lambda cfg, inputs, family, out: taken.append(inputs) or {})

    params = load_sections(ROOT / "params.yaml")
    params["clean"]["quality"]["min_words"] = 21
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), "utf-8")
    stage.main(*[tmp_path] * 8, tmp_path / "data" / family, tmp_path / "report.json")
    on_card = {**taken[-1].params, "pretrain": {family: taken[-1].params["pretrain"]}}
    assert on_card["clean"]["quality"]["min_words"] == 21
    names = {name for before in upstream(f"align@{family}") for name in DECLARED[before].get("params", [])}
    # Which families and tasks there are changes no weight of this one. Where it begins is in the digest of `start`, general text too.
    # What reads annotations says only which documents are annotated, and that is in the digest of `guide`.
    others = {"families", "base", "replay", "extensions", "finetune.tasks", "tasks.derive", "pretrain.masked.masking"}
    values = effective_values(SECTIONS)
    for name in sorted(names - others):
        assert look_up(name, on_card) == look_up(name, values), name
    assert {"feedback", "annotate", "align", f"pretrain.{family}"} <= names


def laid(root: Path, family: str) -> tuple[ExportInputs, list[Path]]:
    """What `pretrain` and `align` of a family declare, each a folder of two files or a file, and all those files."""
    deps = {dep for name in ("pretrain", "align") for dep in DECLARED[f"{name}@{family}"]["deps"]}
    deps -= {f"data/pretrain/{family}", STOPS}
    read = sorted(dep for dep in deps if not dep.startswith(("data/fingerprint/", "data/feedback_clean/")))
    files = [root / dep / name for dep in read for name in ("one.arrow", "train/one.arrow", "tokenizer.json")]
    files += [root / "data/fingerprint" / f"{name}.json" for name in stage.DECIDES]
    files += [root / f"data/align/{family}/model.safetensors", root / "data/dedup/00000.parquet"]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("before")
    learnt = {"pack": root / "data/pack"} | {name: root / f"data/{name}/{family}" for name in ("guide", "start")}
    codes = tuple(root / "data/fingerprint" / f"{name}.json" for name in stage.DECIDES)
    inputs = ExportInputs(
        root / f"data/align/{family}", root / "data/tokenizer", root / "data/dedup", codes, learnt=learnt
    )
    return inputs, [path for path in files if "tokenizer" not in path.parts or path.name == "tokenizer.json"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_input_of_the_weights_changes_a_digest(family: str, tmp_path: Path) -> None:
    inputs, files = laid(tmp_path, family)
    first = digests_of(inputs)
    assert set(first) == {"data", "code", "model", "tokenizer", "pack", "guide", "start"}
    for path in files:
        path.write_text("after")
        assert digests_of(inputs) != first, path.relative_to(tmp_path)
        path.write_text("before")
    assert digests_of(inputs) == first


def test_what_people_said_is_digested_where_the_model_learnt_from_it(
    export_inputs: ExportInputs, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(export_inputs.model, model)
    (model / "training.json").write_text(json.dumps({"chat": True, "align": {"feedback": "f" * 32}}))
    report = export(ExportConfig(), replace(export_inputs, model=model), "causal", tmp_path / "out")
    assert report["digests"]["feedback"] == "f" * 32
    assert f"| feedback | `{'f' * 32}` |" in (tmp_path / "out/README.md").read_text("utf-8")


def test_the_stage_hands_over_every_folder_that_it_declares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The words of dvc.yaml's command line, in their order, reach the inputs that they name."""
    taken: list[ExportInputs] = []
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(stage, "export", lambda cfg, inputs, family, out: taken.append(inputs) or {})
    *paths, out, _ = (Path(word) for word in DECLARED["export@masked"]["cmd"].split()[3:])
    stage.main(*paths, out, tmp_path / "report.json")
    (inputs,) = taken
    assert inputs.learnt == {
        "pack": Path("data/pack"),
        "guide": Path("data/guide/masked"),
        "start": Path("data/start/masked"),
    }
    assert (inputs.model, inputs.tokenizer, inputs.documents) == (
        Path("data/align/masked"),
        Path("data/tokenizer"),
        Path("data/dedup"),
    )
    declared = set(DECLARED["export@masked"]["deps"])
    assert {str(path) for path in (*inputs.fingerprints, *inputs.reports.values(), *inputs.learnt.values())} <= declared


def test_a_base_whose_settings_contradict_its_tokenizer_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """transformers makes small letters of a BERT's text, unless its tokenizer_config.json says that it has capitals."""
    definition = json.loads(wordpiece_tokenizer())
    definition["normalizer"]["lowercase"] = False
    (tmp_path / "tokenizer.json").write_text(json.dumps(definition), "utf-8")
    settings = BERT_NAMES | {"tokenizer_class": "BertTokenizer"}
    inputs = SimpleNamespace(tokenizer=tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | {"do_lower_case": False}), "utf-8")
    assert _checked_ids(inputs, tmp_path)  # type: ignore[arg-type]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    with pytest.raises(UserError, match=r"do_lower_case.*Correct the base model's files in data/base"):
        _checked_ids(inputs, tmp_path)  # type: ignore[arg-type]
