"""All of params.yaml is looked at: whatever stage would refuse a value, the fault names its section, key and line."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from privllm.cli.param_sections import SECTIONS, faults_of
from tests.workshop import ROOT

HEAVY = {"torch", "transformers", "lightning", "great_expectations", "spacy", "fastapi", "ray", "dvc"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_text((ROOT / name).read_text("utf-8"), "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edit(root: Path, old_text: str, new_text: str, file: str = "params.yaml") -> None:
    text = (root / file).read_text("utf-8")
    assert old_text in text
    (root / file).write_text(text.replace(old_text, new_text, 1), "utf-8")


def test_what_is_delivered_is_sound(root: Path) -> None:
    assert faults_of(root) == []


def test_it_takes_nothing_heavy() -> None:
    """It runs in the first second of a build."""
    code = "import sys, privllm.cli.param_sections; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not HEAVY & set(loaded)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_misspelt_key_of_every_section_is_found(root: Path, section: str) -> None:
    """Put first into the section, however deep it lies."""
    lines = (root / "params.yaml").read_text("utf-8").splitlines(keepends=True)
    place = -1
    for depth, name in enumerate(section.split(".")):
        place = next(i for i in range(place + 1, len(lines)) if re.match(rf"{'  ' * depth}{name}:", lines[i]))
    lines.insert(place + 1, f"{'  ' * len(section.split('.'))}misspelt: 1\n")
    (root / "params.yaml").write_text("".join(lines), "utf-8")
    (fault,) = dict.fromkeys(faults_of(root))
    assert f"unknown parameter `{section}.misspelt`" in fault
    assert f"params.yaml, line {place + 2})" in fault


@pytest.mark.parametrize(
    ("old_text", "new_text", "expected_texts"),
    [
        ("  evidence: difference", "  evidens: difference", ["`gate.evidens`", "did you mean `gate.evidence`"]),
        ("  draws: 2000  # behind each interval, >= 100", "  draws: many", ["`gate.draws`", "many"]),
        ("  draws: 2000  # behind each interval, >= 100", "  draws: 10", ["`gate.draws`", "at least 100"]),
        (
            "    bits_per_byte: {max_increase: 0.02}",
            "    bits_per_byte: {}",
            ["`gate.rules.bits_per_byte`", "max_increase"],
        ),
        ("      kv_heads: 0", "      kv_heads: 3", ["`pretrain.causal.model.kv_heads`", "divisor"]),
        ("      rate: 0.3", "      rate: 0", ["`pretrain.masked.masking.rate`", "above 0"]),
        ("      mean_span: 3.0", "      mean_span: 0.5", ["`pretrain.seq2seq.corruption.mean_span`"]),
        ("    start: scratch", "    start: /models/mine", ["`pretrain.causal.start`", "data/base/<name>"]),
        ("      rank: 0", "      rank: -1", ["`finetune.defaults.lora.rank`", "0 or more"]),
        (
            "      kind: chat\n      family: causal",
            "      kind: chat\n      family: masked",
            ["`finetune.tasks.questions.family`", "causal"],
        ),
        (
            "      learning_rate: 0.006\n      max",
            "      learning_rat: 1\n      max",
            ["finetune.tasks.gaps.learning_rat"],
        ),
        (
            "      start: data/pretrain/seq2seq",
            "      start: data/pretrain/causal",
            ["`finetune.tasks.docstring.start`", "seq2seq"],
        ),
        (
            "data/tasks/docstring.jsonl",
            "data/tasks/docstrings.jsonl",
            ["`finetune.tasks.docstring.data`", "docstring, gaps, questions"],
        ),
        ("      data: data/tasks/gaps.jsonl\n", "", ["`finetune.tasks.gaps`", "must say data itself"]),
        (
            "    gaps:\n      kind: tokens\n      family",
            "    my gaps:\n      kind: tokens\n      family",
            ["`finetune.tasks.my gaps`"],
        ),
        ("  tasks:  # by name", "  more: 1\n  tasks:  # by name", ["`finetune.more`", "defaults, tasks"]),
        ("(?P<sentence>[A-Z]", "([A-Z]", ["`tasks.derive.docstring.text`"]),
        ("\nevaluate:", "\nevalute:", ["unknown section `evalute`", "did you mean `evaluate`"]),
        ("\nevaluate:", "\nstrange: 1\nevaluate:", ["unknown section `strange`", "no stage of dvc.yaml"]),
        ("families: [causal, masked, seq2seq]", "families: [causal, maskd]", ["`families`", "causal, masked, seq2seq"]),
        ("families: [causal, masked, seq2seq]", "families: []", ["`families`", "one or more"]),
        ("families: [causal, masked, seq2seq]", "families: [causal, causal]", ["`families`", "each once"]),
        ("  address: ''", "  address: head", ["`executor.address`", "host:port"]),
    ],
)
def test_a_wrong_value_is_found_with_its_line(
    root: Path, old_text: str, new_text: str, expected_texts: list[str]
) -> None:
    before = (root / "params.yaml").read_text("utf-8")
    edit(root, old_text, new_text)
    faults = faults_of(root)
    assert faults, "nothing was found"
    (fault,) = [candidate for candidate in faults if expected_texts[0] in candidate]
    for expected_text in expected_texts:
        assert expected_text in fault
    first = before[: before.index(old_text)].count("\n") + 1
    line = int(re.search(r"line (\d+)\)", fault)[1])
    assert first - 8 <= line <= first + 1 + old_text.count("\n")


def test_all_faults_are_said_at_once(root: Path) -> None:
    edit(root, "  evidence: difference", "  evidens: difference")
    edit(root, "  shard_bits: 4", "  shard_bits: 40")
    assert [re.search(r"`([\w.]+)`", fault)[1] for fault in faults_of(root)] == ["collect.shard_bits", "gate.evidens"]


def test_a_section_that_is_not_there_is_missed(root: Path) -> None:
    text = (root / "params.yaml").read_text("utf-8")
    (root / "params.yaml").write_text(text[: text.index("\ngate:")] + text[text.index("\nexecutor:") :], "utf-8")
    assert faults_of(root) == ["params.yaml has no `gate`, which the stage `gate` needs."]


@pytest.mark.parametrize("declaration", ["params: [mine.x]", "params: ['mine[0]']", "deps: ['${mine.path}']"])
def test_a_section_of_the_users_own_stages_is_theirs(root: Path, declaration: str) -> None:
    edit(root, "\nsplit:", "\nmine: {x: 1, 0: 2, path: data/base}\nsplit:")
    assert "unknown section `mine`" in faults_of(root)[0]
    (root / "dvc.yaml").write_text(
        (root / "dvc.yaml").read_text("utf-8") + f"\n  own:\n    cmd: cat in\n    {declaration}\n", "utf-8"
    )
    assert not [fault for fault in faults_of(root) if "unknown" in fault]


def test_a_start_that_is_not_built(root: Path) -> None:
    edit(root, "families: [causal, masked, seq2seq]", "families: [causal]")
    assert faults_of(root) == []  # data/pretrain/masked: the task is skipped
    edit(root, "start: data/pretrain/masked\n      optional", "start: data/align/masked\n      optional")
    (fault,) = faults_of(root)
    assert "`finetune.tasks.gaps.start`" in fault
    assert "`families` does not name masked" in fault


def test_what_is_no_parameters_file_is_said(root: Path) -> None:
    (root / "params.yaml").write_text("a: [")
    assert "not valid YAML" in faults_of(root)[0]
