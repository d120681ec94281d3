import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from privllm.core.errors import UserError
from privllm.model.families import CLASSES
from privllm.serve.export import ExportConfig, ExportInputs, digest_of, export


def test_stock_transformers_loads_and_generates(export_inputs: ExportInputs, tmp_path: Path) -> None:
    report = export(ExportConfig(), export_inputs, "causal", tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    made = model.generate(**tokenizer("the page", return_tensors="pt"), max_new_tokens=4, do_sample=False)
    assert made.shape[1] <= len(tokenizer("the page")["input_ids"]) + 4
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True)
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


def test_card_and_provenance_say_what_it_is(export_inputs: ExportInputs, tmp_path: Path) -> None:
    report = export(ExportConfig(name="Handbook | model"), export_inputs, "causal", tmp_path)
    card, provenance = (tmp_path / "README.md").read_text("utf-8"), json.loads((tmp_path / "provenance.json").read_text("utf-8"))
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


def test_digest_does_not_depend_on_the_order_given(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "ab"]
    for path in paths:
        path.write_text(path.name)
    assert digest_of(paths) == digest_of(paths[::-1]) != digest_of(paths[:1])


def test_a_missing_model_is_named(export_inputs: ExportInputs, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        export(ExportConfig(), replace(export_inputs, model=tmp_path / "nowhere"), "causal", tmp_path / "out")


@pytest.mark.parametrize("family", ["masked", "seq2seq"])
def test_every_family_loads_by_its_auto_class_with_equal_logits(export_inputs: ExportInputs, tmp_path: Path, family: str) -> None:
    inputs = replace(export_inputs, model=export_inputs.model.parent / family)
    assert export(ExportConfig(), inputs, family, tmp_path)["logit_difference"] < 1e-3
    card = (tmp_path / "README.md").read_text("utf-8")
    code = card.split("```python\n")[1].split("```")[0].replace(f"data/export/{family}", str(tmp_path))
    exec(code, {"print": lambda text: None})  # the card's own example
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    assert len(tokenizer) == CLASSES[family].from_pretrained(tmp_path).config.vocab_size


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
    (model / "training.json").write_text(json.dumps({"chat": False}))
    assert not export(ExportConfig(), inputs, "causal", tmp_path / "plain")["chat"]


def test_a_template_beside_the_tokenizer_goes_with_it(export_inputs: ExportInputs, tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokenizer"
    shutil.copytree(export_inputs.tokenizer, tokenizer)
    (tokenizer / "chat_template.jinja").write_text("{{ messages[0].content }}")
    export(ExportConfig(), replace(export_inputs, tokenizer=tokenizer), "causal", tmp_path / "out")
    assert (tmp_path / "out/chat_template.jinja").read_text() == "{{ messages[0].content }}"
