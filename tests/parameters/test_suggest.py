"""Suggestions for a corpus: where the figures come from, and that the file afterwards is one that the build takes."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from privllm.cli.app import app
from privllm.core.errors import UserError
from privllm.core.params import read_params
from privllm.core.report import write_json
from privllm.parameters.suggest import corpus_facts, suggest
from privllm.tokens.kept_vocabulary import settings_of
from privllm.tokens.vocabulary import TokenizerConfig
from privllm.tokens.vocabulary_sample import SampleConfig
from privllm.train.config import PretrainConfig

pytestmark = pytest.mark.torch  # by which the machine's speed is measured, in modules that are named in texts alone
ROOT = Path(__file__).resolve().parents[2]
RUNNER = CliRunner()


def reports_of_a_build(project: Path, tokens: int = 900_000) -> None:
    facts = {"tokens": {"train": tokens}, "documents": {"train": 3000}}
    write_json(project / "reports/pack.json", facts)
    write_json(project / "reports/tokenizer.json", {"vocabulary": 4096})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A build with documents, on a machine of known speed."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "stages", tmp_path / "stages")
    (tmp_path / "data/sources").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("privllm.train.speed_probe.tokens_per_second", lambda *_: 3000.0)
    monkeypatch.setattr("privllm.models.devices.on_gpu", lambda: False)
    return tmp_path


def test_before_a_build_the_sources_are_estimated(project: Path) -> None:
    (project / "data/sources/a.txt").write_text("x" * 36_000)
    (project / "data/sources/b.html").write_text("x" * 144_000)
    facts = corpus_facts()
    assert facts.tokens == round(20_000 * 0.9)
    assert facts.document_tokens == 10_000
    assert "estimated from 2 files" in facts.source


def test_after_a_build_its_report_counts(project: Path) -> None:
    (project / "data/sources/a.txt").write_text("x" * 36_000)
    reports_of_a_build(project)
    assert corpus_facts() == (facts := corpus_facts())
    assert (facts.tokens, facts.document_tokens) == (900_000, 300)


def test_a_text_is_counted_in_the_tokens_of_the_vocabulary_that_the_next_build_has(project: Path) -> None:
    """Of one that is written in params.yaml and not built yet; but where a vocabulary was kept, the next build has that."""
    reports_of_a_build(project, tokens=260_000)
    text = Path("params.yaml").read_text("utf-8").replace("vocabulary: 4096", "vocabulary: 1024")
    Path("params.yaml").write_text(text, "utf-8")
    assert suggest(minutes=30).corpus.tokens == 360_000
    settings = settings_of(read_params("tokenizer", TokenizerConfig), read_params("sample", SampleConfig))
    (project / "data/vocabulary/kept").mkdir(parents=True)
    note = {"settings": settings | {"tokenizer": {}}, "bytes_per_token": 3.6}
    write_json(project / "data/vocabulary/kept/vocabulary.json", note)
    assert suggest(minutes=30).corpus.tokens == 360_000, "one of other settings is learnt anew"
    write_json(project / "data/vocabulary/kept/vocabulary.json", note | {"settings": settings})
    assert suggest(minutes=30).corpus.tokens == 260_000


def test_a_text_that_yields_fewer_tokens_than_its_limit_keeps_its_count(project: Path) -> None:
    reports_of_a_build(project, tokens=20_000)
    write_json(project / "reports/tokenizer.json", {"vocabulary": 1000})
    text = Path("params.yaml").read_text("utf-8")
    Path("params.yaml").write_text(text.replace("vocabulary: 4096", "vocabulary: 1024"), "utf-8")
    assert suggest(minutes=30).corpus.tokens == 20_000


def test_without_documents_there_is_nothing_to_suggest(project: Path) -> None:
    with pytest.raises(UserError, match="data/sources holds no documents"):
        corpus_facts()


def test_what_is_written_is_what_was_suggested_and_is_read_by_the_build(project: Path) -> None:
    reports_of_a_build(project)
    suggestions = suggest(minutes=30)
    Path("params.yaml").write_text(suggestions.after, "utf-8")
    pretrain = read_params("pretrain", PretrainConfig)
    for family, plan in suggestions.families.items():
        cfg = getattr(pretrain, family)
        for setting in plan.settings:
            value = cfg
            for name in setting.key.split("."):
                value = getattr(value, name)
            assert value == setting.value, setting.key
    assert pretrain.seq2seq.model.encoder_layers + pretrain.seq2seq.model.decoder_layers == pretrain.causal.model.layers
    assert suggestions.before.count("#") == suggestions.after.count("#")
    again = suggest(minutes=30)
    assert again.before == again.after


@pytest.mark.slow
def test_the_command_shows_the_difference_and_asks(project: Path) -> None:
    reports_of_a_build(project)
    before = Path("params.yaml").read_text("utf-8")
    looked = RUNNER.invoke(app, ["params", "--suggest", "--minutes", "30", "--dry-run"])
    assert looked.exit_code == 0, looked.output
    assert "+pack: {context: 512, mixture: even}" in looked.output
    assert "900,000 training tokens (reports/pack.json)" in looked.output
    assert "starts from a base" in looked.output
    refused = RUNNER.invoke(app, ["params", "--suggest", "--minutes", "30"], input="n\n")
    assert "Write this into params.yaml?" in refused.output
    assert Path("params.yaml").read_text("utf-8") == before
    agreed = RUNNER.invoke(app, ["params", "--suggest", "--minutes", "30", "--yes"])
    assert agreed.exit_code == 0, agreed.output
    assert Path("params.yaml").read_text("utf-8") != before
    assert "says so already" in RUNNER.invoke(app, ["params", "--suggest", "--minutes", "30"]).output


def test_options_of_suggest_need_it(project: Path) -> None:
    done = RUNNER.invoke(app, ["params", "--minutes", "3"])
    assert done.exit_code != 0


def test_a_start_from_a_base_keeps_shape_and_context(project: Path) -> None:
    reports_of_a_build(project)
    text = Path("params.yaml").read_text("utf-8")
    Path("params.yaml").write_text(text.replace("base: scratch", "base: {causal: incumbent}"), "utf-8")
    suggestions = suggest(minutes=None)
    assert suggestions.context.value == 256, "it is not to change"
    assert not [setting for setting in suggestions.families["causal"].settings if setting.key == "model.layers"]


def test_only_a_family_with_a_choice_of_embeddings_is_told_of_them(project: Path) -> None:
    reports_of_a_build(project)
    told = {
        family
        for family, plan in suggest(minutes=None).families.items()
        if "model.tie_embeddings" in [setting.key for setting in plan.settings]
    }
    assert told == {"causal"}


def test_from_a_model_of_others_what_counts_there_is_suggested(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its learning rate and its epochs stand in `from_base`, and its shape and vocabulary decide the speed."""
    reports_of_a_build(project)
    config = {"model_type": "llama", "num_hidden_layers": 30, "hidden_size": 576, "num_attention_heads": 9}
    (project / "data/base/smollm2").mkdir(parents=True)
    write_json(project / "data/base/smollm2/config.json", config | {"vocab_size": 49_152})
    text = Path("params.yaml").read_text("utf-8")
    Path("params.yaml").write_text(text.replace("base: scratch", "base: data/base/smollm2"), "utf-8")
    probed: dict[str, tuple[int, int, int]] = {}

    def speed(family: str, shape: Any, cfg: Any, vocabulary: int, context: int) -> float:
        layers = getattr(shape, "layers", 0)
        probed.setdefault(family, (layers, shape.width, vocabulary))
        return 150.0

    monkeypatch.setattr("privllm.train.speed_probe.tokens_per_second", speed)
    suggestions = suggest(minutes=60)
    keys = [setting.key for setting in suggestions.families["causal"].settings]
    assert keys == ["batch_size", "from_base.epochs", "model.dropout", "weight_decay"]
    assert probed["causal"] == (30, 576, 49_152)
    assert suggestions.families["causal"].settings[1].value == pytest.approx(20 * 60 * 150 / 900_000)
    Path("params.yaml").write_text(suggestions.after, "utf-8")
    assert read_params("pretrain", PretrainConfig).causal.from_base.epochs == 0.2
    assert "learning_rate" in [setting.key for setting in suggestions.families["masked"].settings]  # from scratch
