"""All of params.yaml is looked at: whatever stage would refuse a value, the fault names its section, key and line."""

import json
import re
import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import yaml

from privllm.base.folder import require_trainable
from privllm.core.errors import UserError
from privllm.parameters.check import faults_of
from privllm.parameters.sections import SECTIONS, effective_values
from tests.workshop import ABSENT, ROOT

HEAVY = {"torch", "transformers", "lightning", "great_expectations", "spacy", "fastapi", "ray", "dvc"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """dvc.yaml, and a params.yaml in which every parameter is written."""
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text("utf-8"), "utf-8")
    params = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    for section, values in effective_values(SECTIONS, ROOT / "params.yaml").items():
        *outer, name = section.split(".")
        (params[outer[0]] if outer else params)[name] = values
    write(tmp_path, params)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(root: Path, params: Any) -> None:
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False, width=10_000), "utf-8")


def change(root: Path, dotted: str, value: Any) -> None:
    """Set a parameter, or with ABSENT take it out."""
    params = yaml.safe_load((root / "params.yaml").read_text("utf-8"))
    section = params
    *outer, name = dotted.split(".")
    for key in outer:
        section = section[key]
    section.pop(name, None)
    if value is not ABSENT:
        section[name] = value
    write(root, params)


def line_in(root: Path, dotted: str) -> int:
    """The line (from 1) of a dotted name, or of the deepest part of it that stands there."""
    lines = (root / "params.yaml").read_text("utf-8").splitlines()
    place = -1
    for depth, name in enumerate(dotted.split(".")):
        indent = "  " * depth
        inside = takewhile(lambda i, indent=indent: lines[i].startswith(indent), range(place + 1, len(lines)))
        matches = [i for i in inside if lines[i].startswith(f"{indent}{name}:")]
        if not matches:
            break
        place = matches[0]
    return place + 1


@pytest.mark.parametrize("path", ["params.yaml", "the full one"])
def test_what_is_delivered_is_sound(root: Path, path: str) -> None:
    if path == "params.yaml":
        (root / path).write_text((ROOT / path).read_text("utf-8"), "utf-8")
    assert faults_of(root) == []


def test_it_takes_nothing_heavy() -> None:
    """It runs in the first second of a build."""
    code = "import sys, privllm.parameters.check; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not HEAVY & set(loaded)


@pytest.mark.slow
@pytest.mark.parametrize("section", SECTIONS)
def test_a_misspelt_key_of_every_section_is_found(root: Path, section: str) -> None:
    change(root, f"{section}.misspelt", 1)
    (fault,) = dict.fromkeys(faults_of(root))
    assert f"unknown parameter `{section}.misspelt`" in fault
    assert f"params.yaml, line {line_in(root, f'{section}.misspelt')})" in fault


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parameter", "value", "expected_texts"),
    [
        ("gate.evidens", "interval", ["`gate.evidens`", "did you mean `gate.evidence`"]),
        ("gate.rules.bits_per_byte_clean", {}, ["`gate.rules.bits_per_byte_clean`", "max_increase"]),
        ("pretrain.causal.model.kv_heads", 3, ["`pretrain.causal.model.kv_heads`", "divisor"]),
        ("pretrain.masked.masking.rate", 0, ["`pretrain.masked.masking.rate`", "above 0"]),
        ("pretrain.seq2seq.corruption.mean_span", 0.5, ["`pretrain.seq2seq.corruption.mean_span`"]),
        ("base", "/models/mine", ["`base`", "data/base/<name>"]),
        ("base", {"causal": "incumbent", "masked": "data/base/x"}, ["`base`", "several models", "`base.tokenizer`"]),
        ("finetune.defaults.lora.rank", -1, ["`finetune.defaults.lora.rank`", "0 or more"]),
        ("finetune.tasks.questions.family", "masked", ["`finetune.tasks.questions.family`", "causal"]),
        ("finetune.tasks.gaps.learning_rat", 1, ["finetune.tasks.gaps.learning_rat"]),
        ("finetune.tasks.docstring.start", "data/pretrain/causal", ["`finetune.tasks.docstring.start`", "seq2seq"]),
        (
            "finetune.tasks.docstring.data",
            "data/tasks/docstrings.jsonl",
            ["`finetune.tasks.docstring.data`", "docstring, gaps, questions"],
        ),
        ("finetune.tasks.gaps.data", ABSENT, ["`finetune.tasks.gaps`", "must say data itself"]),
        ("finetune.tasks.my gaps", {}, ["`finetune.tasks.my gaps`"]),
        ("finetune.more", 1, ["`finetune.more`", "defaults, tasks"]),
        ("tasks.derive.docstring.text", "([A-Z])", ["`tasks.derive.docstring.text`"]),
        ("evalute", {}, ["unknown section `evalute`", "did you mean `evaluate`"]),
        ("quixotic", 1, ["unknown section `quixotic`", "no stage of dvc.yaml"]),
        ("families", ["causal", "maskd"], ["`families`", "causal, masked, seq2seq"]),
        ("families", [], ["`families`", "one or more"]),
        ("families", ["causal", "causal"], ["`families`", "each once"]),
        ("executor.address", "head", ["`executor.address`", "host:port"]),
    ],
)
def test_a_wrong_value_is_found_with_its_line(
    root: Path, parameter: str, value: Any, expected_texts: list[str]
) -> None:
    change(root, parameter, value)
    faults = faults_of(root)
    assert faults, "nothing was found"
    (fault,) = [candidate for candidate in faults if expected_texts[0] in candidate]
    for expected_text in expected_texts:
        assert expected_text in fault
    assert f"line {line_in(root, parameter)})" in fault


def test_all_faults_are_said_at_once(root: Path) -> None:
    change(root, "gate.evidens", "difference")
    change(root, "collect.shard_bits", 40)
    assert [re.search(r"`([\w.]+)`", fault)[1] for fault in faults_of(root)] == ["collect.shard_bits", "gate.evidens"]


def test_a_section_that_is_not_there_is_missed(root: Path) -> None:
    change(root, "gate", ABSENT)
    assert faults_of(root) == ["params.yaml has no `gate`, which the stage `gate` needs."]


@pytest.mark.parametrize("declaration", ["params: [mine.x]", "params: ['mine[0]']", "deps: ['${mine.path}']"])
def test_a_section_of_the_users_own_stages_is_theirs(root: Path, declaration: str) -> None:
    change(root, "mine", {"x": 1, 0: 2, "path": "data/base"})
    assert "unknown section `mine`" in faults_of(root)[0]
    (root / "dvc.yaml").write_text(
        (root / "dvc.yaml").read_text("utf-8") + f"\n  own:\n    cmd: cat in\n    {declaration}\n", "utf-8"
    )
    assert not [fault for fault in faults_of(root) if "unknown" in fault]


def test_a_start_that_is_not_built(root: Path) -> None:
    change(root, "families", ["causal"])
    assert faults_of(root) == []  # data/pretrain/masked: the task is skipped
    change(root, "finetune.tasks.gaps.start", "data/align/masked")
    (fault,) = faults_of(root)
    assert "`finetune.tasks.gaps.start`" in fault
    assert "`families` does not name masked" in fault


def test_what_is_no_parameters_file_is_said(root: Path) -> None:
    (root / "params.yaml").write_text("a: [")
    assert "not valid YAML" in faults_of(root)[0]


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"causal": "/models/mine"}, "`base.causal`"),
        ({"causl": "scratch"}, "`base.causl`"),
        ("data/base/gone", "is data/base/gone: it is not there; it must be"),
        ("incumbent", "nothing has been promoted yet"),
    ],
)
def test_where_training_begins_is_checked(root: Path, value: Any, fault: str) -> None:
    change(root, "base", value)
    (found,) = faults_of(root)
    assert fault.partition(";")[0] in found


def test_a_model_that_is_not_fetched_yet_is_no_fault(root: Path) -> None:
    change(root, "base", "data/base/there")
    (root / "data/base").mkdir(parents=True, exist_ok=True)
    (root / "data/base/there.dvc").write_text("outs: []", "utf-8")
    assert faults_of(root) == []


UNTRAINABLE = [
    ({"model_type": "gpt_neox"}, "holds a gpt_neox model, which the build cannot train"),
    ({"model_type": "own", "auto_map": {"AutoModel": "x.X"}}, "code that lies beside it, which is never run"),
    ({"model_type": "llama", "quantization_config": {"bits": 4}}, "holds quantized weights"),
]


@pytest.mark.parametrize(("config", "said"), UNTRAINABLE)
def test_a_base_that_cannot_be_trained_is_refused_in_the_same_words_everywhere(
    root: Path, config: dict[str, Any], said: str
) -> None:
    place = Path("data/base/there")
    (root / place).mkdir(parents=True)
    (root / place / "config.json").write_text(json.dumps(config), "utf-8")
    change(root, "base", str(place))
    (found,) = faults_of(root)
    assert said in found
    with pytest.raises(UserError) as added:
        require_trainable(config, place)
    assert found.endswith(str(added.value))
    change(root, "base", {"tokenizer": str(place)})
    assert faults_of(root) == []
