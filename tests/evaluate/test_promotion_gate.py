"""gate: both models are measured on the same documents, whatever their tokenizers, and a rule that is broken fails the build."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.promoted import JUDGED, MANIFEST
from privllm.core.report import write_json
from privllm.core.split import SplitConfig
from privllm.core.tables import read_table, write_table
from privllm.evaluate.promotion_gate import GateConfig, GateInputs, GateSettings, are_comparable, compare_scores, gate
from privllm.evaluate.recipe import EvaluateConfig, EvaluateInputs, evaluate
from privllm.evaluate.rules import Figure, Rule
from privllm.models.loading import build, load
from privllm.stats.scores import mean_of
from privllm.tasks.example_scores import SCORED
from privllm.tokens.chat_format import Speech
from privllm.tokens.special_ids import special_ids
from privllm.tokens.trained_documents import TRAINED
from privllm.tokens.vocabulary import TokenizerConfig, learn_tokenizer
from privllm.tokens.vocabulary_sample import SampleConfig, write_sample
from tests.evaluate.conftest import CONTEXT, MODELS
from tests.foreign import foreign_tokenizer, unigram_tokenizer, wordpiece_tokenizer

SPLIT = SplitConfig(validation=0.1, test=0.3)
EVALUATE = EvaluateConfig(continuations=0, samples=0, own_texts=0, bootstrap=0)
SETTINGS = GateSettings(GateConfig(rules={"bits_per_byte_clean": Rule(max_increase=0.01)}), EVALUATE)


@pytest.fixture
def folders(inputs_of: Callable[[str], EvaluateInputs], tmp_path: Path) -> GateInputs:
    """Today's build, two families of it, and nothing promoted."""
    causal = inputs_of("causal")
    for family in ("causal", "masked"):
        shutil.copytree(causal.model.parent / family, tmp_path / "align" / family)
        evaluate(EVALUATE, inputs_of(family), family, tmp_path / "evaluate" / family)
    (tmp_path / "promoted").mkdir()
    (tmp_path / "feedback").mkdir()
    (tmp_path / "feedback/held_out.jsonl").touch()
    folders = tmp_path / "promoted", tmp_path / "align", tmp_path / "evaluate"
    return GateInputs(*folders, causal.documents, causal.tokenizer, tmp_path / "feedback", tmp_path / "finetune")


def judged(folders: GateInputs, family: str = "causal") -> pa.Table:
    """This build's scores of the test split."""
    table = read_table(folders.scores / family / "documents.parquet")
    return table.filter(pc.equal(table["split"], "test"))


def clean_documents(table: pa.Table) -> int:
    return sum(size > 0 for size in table["clean_bytes"].to_pylist())


def promote(folders: GateInputs, *families: str, noise: float = 0.0) -> Path:
    """Make today's models the incumbents, with `noise` on their weights."""
    incumbent = folders.promoted / "incumbent"
    for family in families:
        model = load(family, folders.models / family)
        if noise:
            torch.manual_seed(1)
            for parameter in model.parameters():
                parameter.data += noise * torch.randn_like(parameter)
            model.save_pretrained(incumbent / family)
        else:
            shutil.copytree(folders.models / family, incumbent / family)
        write_table(judged(folders, family).select(["id", "bytes"]), incumbent / JUDGED / f"{family}.parquet")
    shutil.copytree(folders.tokenizer, incumbent / "tokenizer", dirs_exist_ok=True)
    write_json(incumbent / MANIFEST, {"version": "privllm@v1.0.0"})
    return incumbent


def test_a_model_is_as_good_as_itself(folders: GateInputs, tmp_path: Path) -> None:
    promote(folders, "causal")
    report = gate(SETTINGS, folders, {}, tmp_path / "gate")
    assert (report["passed"], report["incumbent"], report["not_measured"]) == (True, "privllm@v1.0.0", [])
    assert set(report["figures"]) == {
        "causal.bits_per_byte_clean",
        "causal.forgetting",
    }  # the incumbent has no masked model
    assert {figure["difference"] for figure in report["figures"].values()} == {0.0}


@pytest.mark.slow
@pytest.mark.parametrize("family", ["causal", "masked"])
def test_another_model_is_scored_as_evaluate_would(
    folders: GateInputs, inputs_of: Callable, family: str, tmp_path: Path
) -> None:
    incumbent = promote(folders, family, noise=0.1)
    report = gate(SETTINGS, folders, {}, tmp_path / "gate")
    evaluate(EVALUATE, inputs_of(family)._replace(model=incumbent / family), family, tmp_path / "again")
    expected = read_table(tmp_path / "again/documents.parquet")
    expected = expected.filter(pc.equal(expected["split"], "test"))
    incumbent_scores = read_table(tmp_path / f"gate/{family}.parquet")
    for column in incumbent_scores.column_names:
        assert incumbent_scores[column].to_pylist() == pytest.approx(expected[column].to_pylist()), column
    figure = report["figures"][f"{family}.{TRAITS[family].clean_bits}"]
    assert figure["incumbent"] != figure["candidate"]
    assert figure["low"] <= figure["difference"] <= figure["high"]


def test_forgetting_is_of_what_the_incumbent_was_judged_on_and_is_still_the_same(
    folders: GateInputs, tmp_path: Path
) -> None:
    incumbent = promote(folders, "causal", noise=0.1)
    today = judged(folders)
    today = today.filter(pc.greater(today["clean_bytes"], 0))
    rows = today.select(["id", "bytes"]).to_pylist()
    rows[0]["bytes"] += 1  # edited since
    table = pa.Table.from_pylist(rows[: len(rows) // 2], today.select(["id", "bytes"]).schema)
    write_table(table, incumbent / JUDGED / "causal.parquet")
    figures = gate(SETTINGS, folders, {}, tmp_path / "gate")["figures"]
    assert figures["causal.bits_per_byte_clean"]["units"] == len(rows) < len(judged(folders))
    assert figures["causal.forgetting"]["units"] == len(rows) // 2 - 1


def test_what_the_incumbent_or_an_ancestor_was_trained_on_is_left_out_for_both(
    folders: GateInputs, tmp_path: Path
) -> None:
    incumbent = promote(folders, "causal", noise=0.1)
    before = gate(SETTINGS, folders, {}, tmp_path / "before")
    clean = [row["id"] for row in judged(folders).to_pylist() if row["clean_bytes"]]
    trained = [{"id": name, "digest": "of a text that an ancestor read"} for name in clean[:2]]
    write_table(pa.Table.from_pylist(trained, TRAINED), incumbent / "documents.parquet")
    report = gate(SETTINGS, folders, {}, tmp_path / "gate")
    assert (before["left_out"], report["left_out"]) == ({"causal": 0}, {"causal": 2})
    assert not {row["id"] for row in rows_of(tmp_path / "gate/causal.parquet")} & set(clean[:2])
    for name in ("causal.bits_per_byte_clean", "causal.forgetting"):
        assert report["figures"][name]["units"] == before["figures"][name]["units"] - 2
        assert report["figures"][name]["candidate"] != before["figures"][name]["candidate"]


@pytest.mark.slow
def test_another_tokenizer_and_a_shorter_context_read_the_same_bytes(folders: GateInputs, tmp_path: Path) -> None:
    incumbent = promote(folders, "causal")
    write_sample(SampleConfig(), folders.documents, folders.documents / "sample")
    learn_tokenizer(TokenizerConfig(vocabulary=300), folders.documents / "sample", incumbent / "tokenizer")
    build("causal", MODELS["causal"], special_ids(incumbent / "tokenizer"), CONTEXT // 2, 4).save_pretrained(
        incumbent / "causal"
    )
    report = gate(SETTINGS, folders, {}, tmp_path / "gate")
    ours, theirs = judged(folders), read_table(tmp_path / "gate/causal.parquet")
    assert theirs["id"].to_pylist() == ours["id"].to_pylist()
    assert theirs["bytes"].to_pylist() == ours["bytes"].to_pylist()
    assert sum(theirs["tokens"].to_pylist()) > sum(ours["tokens"].to_pylist())
    assert report["figures"]["causal.bits_per_byte_clean"]["units"] == clean_documents(ours)


def vote(number: int, chosen: str, rejected: str) -> str:
    prompt = [{"role": "user", "content": f"page {number}"}]
    sides = {"left": rejected, "right": chosen, "choice": "right"}
    return (
        json.dumps({"id": str(number), "kind": "vote", "prompt": prompt, "weight": 1.0, "correction": "", **sides})
        + "\n"
    )


@pytest.mark.slow
def test_bits_of_a_vocabulary_that_leaves_text_out_are_not_compared(tmp_path: Path) -> None:
    """What is left out costs nothing, so the poorer reader would win."""
    tokenizers = {"own": foreign_tokenizer(), "bert": wordpiece_tokenizer(), "t5": unigram_tokenizer()}
    for name, text in tokenizers.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokenizer.json").write_text(text, "utf-8")
    pairs = [("own", "own"), ("bert", "bert"), ("own", "bert"), ("t5", "own"), ("bert", "t5")]
    assert [are_comparable(tmp_path / one, tmp_path / other) for one, other in pairs] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_preferences_are_what_the_model_finds_likelier(folders: GateInputs, tmp_path: Path) -> None:
    """Each pair by hand, one forward pass a reply: the chosen one has the higher mean log-probability, or not."""
    promote(folders, "causal", noise=0.3)
    replies = [
        ("keeps every row", "reads less"),
        ("so", "the naïve store"),
        ("less", "page"),
        ("own", "row"),
        ("a", "the"),
        ("of", "in"),
        ("keeps", "reads"),
        ("every row", "so"),
        ("the page", "own"),
        ("in a page", "less"),
    ]
    lines = [vote(number, *pair) for number, pair in enumerate(replies)]
    (folders.feedback / "held_out.jsonl").write_text("".join(lines) + vote(99, " ", "nothing"), "utf-8")
    figure = gate(SETTINGS, folders, {}, tmp_path / "gate")["figures"]["causal.preferences"]
    assert figure["units"] == len(replies), "an empty reply cannot be judged"
    speech = Speech(folders.tokenizer)
    for side, folder in (
        ("incumbent", folders.promoted / "incumbent/causal"),
        ("candidate", folders.models / "causal"),
    ):
        model, right = load("causal", folder), []
        for number, pair in enumerate(replies):
            prompt = speech.prompt([("user", f"page {number}")])
            means = []
            for reply in pair:
                tokens = torch.tensor([[*prompt, *speech.ids(reply), speech.marks.end[0]]])
                with torch.inference_mode():
                    likelihoods = (
                        model(tokens)
                        .logits[0]
                        .double()
                        .log_softmax(-1)[:-1]
                        .gather(1, tokens[0, 1:, None])[len(prompt) - 1 :]
                    )
                means.append(float(likelihoods.mean()))
            right.append(means[0] > means[1])
        assert figure[side] == pytest.approx(sum(right) / len(right), abs=1e-6)
    assert figure["low"] <= figure["difference"] <= figure["high"]


def test_tasks_are_compared_where_both_builds_have_them(folders: GateInputs, tmp_path: Path) -> None:
    incumbent = promote(folders, "causal")
    rows = [
        {"score": "accuracy", "example": f"e{i}", "group": f"g{i}", "over": float(i % 2), "under": 1.0}
        for i in range(12)
    ]
    for task in ("kept", "dropped"):
        write_table(pa.Table.from_pylist(rows, SCORED), incumbent / "tasks" / f"{task}.parquet")
    better = [row | {"over": 1.0} for row in rows]
    for task in ("kept", "added"):
        write_table(pa.Table.from_pylist(better, SCORED), folders.tuned / task / "scores.parquet")
    figures = gate(SETTINGS, folders, {}, tmp_path / "gate")["figures"]
    assert [name for name in figures if name.startswith("tasks.")] == ["tasks.kept.accuracy"]
    figure = figures["tasks.kept.accuracy"]
    assert (figure["incumbent"], figure["candidate"], figure["units"]) == (0.5, 1.0, 12)
    assert 0 < figure["low"] < 0.5 < figure["high"]


def rows_of(path: Path) -> list[dict]:
    return read_table(path).to_pylist()


@pytest.mark.slow
def test_weights_that_differ_in_the_last_bit_are_scored_anew_and_equal_ones_are_not(
    folders: GateInputs, tmp_path: Path
) -> None:
    """Scores of today's build are taken over for the incumbent only where it is the same file by the same tokenizer."""
    incumbent = promote(folders, "causal")
    scores = folders.scores / "causal/documents.parquet"
    table = read_table(scores)
    marked = table.set_column(table.column_names.index("nats"), "nats", pa.array([1.0] * len(table)))
    write_table(marked, scores)
    gate(SETTINGS, folders, {}, tmp_path / "same")
    assert {row["nats"] for row in rows_of(tmp_path / "same/causal.parquet")} == {1.0}
    for path, change in (
        (incumbent / "tokenizer/tokenizer.json", b"\n"),
        (incumbent / "causal/model.safetensors", b""),
    ):
        held = path.read_bytes()
        path.write_bytes(held + change if change else held[:-1] + bytes([held[-1] ^ 1]))
        gate(SETTINGS, folders, {}, tmp_path / "other")
        assert {row["nats"] for row in rows_of(tmp_path / "other/causal.parquet")} != {1.0}, path.name
        path.write_bytes(held)


def test_a_broken_rule_is_in_the_report(folders: GateInputs, tmp_path: Path) -> None:
    promote(folders, "causal")
    strict = SETTINGS._replace(
        gate=GateConfig(
            rules={"bits_per_byte_clean": Rule(max_increase=-0.1), "masked.forgetting": Rule(max_increase=1)}
        )
    )
    report = gate(strict, folders, {"causal.copied_runs": Figure(0.0, 0.5, None, 9, "nothing")}, tmp_path / "gate")
    assert not report["passed"]
    assert report["figures"]["causal.bits_per_byte_clean"]["verdict"] == "broken: max_increase -0.1"
    assert report["not_measured"] == ["masked.forgetting"]
    assert report["figures"]["causal.copied_runs"]["verdict"] == "not asked"


@pytest.mark.parametrize(("documents", "interval"), [(9, False), (10, True)])
def test_an_interval_needs_ten_groups(documents: int, interval: bool) -> None:
    old, new = (mean_of([value] * 12) for value in (0.25, 0.5))
    figure = compare_scores(old, new, [f"g{i % documents}" for i in range(12)])
    assert (figure.incumbent, figure.candidate, figure.difference, figure.units) == (0.25, 0.5, 0.25, 12)
    assert figure.interval == ((0.25, 0.25) if interval else None)


def test_nothing_in_common_is_no_figure(folders: GateInputs, tmp_path: Path) -> None:
    incumbent = promote(folders, "causal")
    before = read_table(incumbent / JUDGED / "causal.parquet")
    write_table(before.slice(0, 0), incumbent / JUDGED / "causal.parquet")
    report = gate(
        SETTINGS._replace(gate=GateConfig({"forgetting": Rule(max_increase=0.1)})), folders, {}, tmp_path / "gate"
    )
    assert set(report["figures"]) == {"causal.bits_per_byte_clean"}
    assert (report["passed"], report["not_measured"]) == (True, ["forgetting"])


def test_a_candidate_whose_losses_are_no_numbers_does_not_pass(folders: GateInputs, tmp_path: Path) -> None:
    promote(folders, "causal")
    scores = folders.scores / "causal/documents.parquet"
    table = read_table(scores)
    nats = pa.array([math.nan] * len(table))
    write_table(table.set_column(table.column_names.index("clean_nats"), "clean_nats", nats), scores)
    with pytest.raises(UserError, match=r"`causal\.bits_per_byte_clean` is not a number"):
        gate(SETTINGS, folders, {}, tmp_path / "gate")
