import json
import math
from pathlib import Path

import pyarrow as pa
import pytest

from privllm.core.base_model import NOTE
from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.report import write_json
from privllm.core.tables import read_table, write_table
from privllm.evaluate.held_out import choose_documents
from privllm.evaluate.recipe import EvaluateConfig, EvaluateInputs, evaluate, read_documents
from privllm.evaluate.scoring import ModelFiles, score
from privllm.evaluate.slices import KINDS, tally
from privllm.evaluate.weak_spots import weak_spots
from privllm.stats.document_scores import SCORES, compare_documents, read_scores
from privllm.tokens.encode import Encoder
from privllm.tokens.mixture import read_weights, weak_spots_of
from privllm.tokens.special_ids import special_ids
from privllm.tokens.trained_documents import TRAINED

SMALL = {
    "continuations": 2,
    "prompt_tokens": 6,
    "continuation_tokens": 8,
    "sample_tokens": 6,
    "bootstrap": 50,
    "own_texts": 4,
}


@pytest.fixture(scope="module")
def made(inputs: EvaluateInputs, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    out = tmp_path_factory.mktemp("out")
    return evaluate(EvaluateConfig(**SMALL), inputs, "causal", out), out


def test_slices_of_each_kind_add_up(made: tuple[dict, Path]) -> None:
    report, out = made
    rows = read_table(out / "slices.parquet").to_pylist()
    whole = next(row for row in rows if row["kind"] == "all")
    for kind in KINDS:
        parts = [row for row in rows if row["kind"] == kind]
        assert {row["name"] for row in parts if row["bytes"]} == set(report[kind])
        for column in ("tokens", "bytes", "nats", "correct"):
            assert sum(row[column] for row in parts) == pytest.approx(whole[column]), (kind, column)
    assert set(report["by_source"]) <= {"manual", "mail", "."}
    assert {"unannotated", "NOUN"} <= set(report["by_pos"])
    assert set(report["by_entity"]) == {"unannotated", "SPACE", "outside", "ORG"}  # the end has no bytes
    assert set(report["by_length"]) == {"0-1 kB"}
    assert report["slices_compared"] >= 5


def test_a_model_that_cannot_read_one_source_is_weak_there_and_pack_understands_it(
    inputs: EvaluateInputs, tmp_path: Path
) -> None:
    """Every document of `mail` is made to cost twice as much."""
    encoder = Encoder.open(inputs.tokenizer)
    chosen = choose_documents(inputs.documents, 10**6, TRAINED.empty_table()).ids_by_shard
    pieces = score(ModelFiles("causal", inputs.model, inputs.tokenizer), chosen, 8, tmp_path / "tokens")
    scored = {document.id: document for document in pieces}
    documents = list(read_documents(inputs, encoder, special_ids(inputs.tokenizer), chosen))
    for document in documents:
        if document.source.startswith("mail/"):
            scored[document.id] = scored[document.id]._replace(nats=scored[document.id].nats * 2)
    (spot, *_), _ = weak_spots(tally(documents, scored, only_clean=True), 200, 1)
    assert (spot["kind"], spot["slice"]) == ("source", "mail")
    assert 1.8 < spot["ratio"] < 2.3
    write_json(tmp_path / "reports/evaluate/causal.json", {"weak_spots": [spot]})
    write_json(tmp_path / "weak_spots.json", weak_spots_of(tmp_path / "reports"))
    assert read_weights(tmp_path / "weak_spots.json", 1.5) == {"source": {"mail": 1.5}}


def test_documents_add_up_to_the_report(made: tuple[dict, Path], inputs: EvaluateInputs) -> None:
    report, out = made
    rows = read_table(out / "documents.parquet").to_pylist()
    sizes, splits = {}, {}
    for shard in sorted(inputs.documents.glob("*.parquet")):
        for row in read_table(shard, ["id", "text", "split"]).to_pylist():
            sizes[row["id"]], splits[row["id"]] = len(row["text"].encode()), row["split"]
    assert {row["id"]: row["split"] for row in rows} == {name: of for name, of in splits.items() if of != "train"}
    assert [row["bytes"] for row in rows] == [sizes[row["id"]] for row in rows]
    for split, figures in (("validation", report), ("test", report["test"])):
        own = [row for row in rows if row["split"] == split]
        assert sum(row["tokens"] for row in own) == figures["tokens"]
        assert (len(own), figures["left_out"]) == (figures["documents"], 0)
        clean = [row for row in own if row["clean_bytes"]]
        assert 0 < len(clean) == figures["clean_documents"] < len(own)
        bits = sum(row["clean_nats"] for row in clean) / math.log(2) / sum(row["clean_bytes"] for row in clean)
        assert figures["bits_per_byte_clean"] == pytest.approx(bits, abs=1e-6)
    assert report["test"]["interval"][0] < report["test"]["bits_per_byte"] < report["test"]["interval"][1]
    assert not {"weak_spots", "by_pos"} & set(report["test"]), "nobody chooses by the test split"


def test_what_the_start_was_trained_on_judges_nothing(
    made: tuple[dict, Path], inputs: EvaluateInputs, tmp_path: Path
) -> None:
    known = [row["id"] for row in read_table(made[1] / "documents.parquet").to_pylist() if row["split"] == "test"][:3]
    trained = [{"id": name, "digest": ""} for name in known]
    write_table(pa.Table.from_pylist(trained, TRAINED), tmp_path / "start/documents.parquet")
    write_json(tmp_path / "start" / NOTE, {"start": "incumbent"})
    report = evaluate(EvaluateConfig(**SMALL), inputs._replace(start=tmp_path / "start"), "causal", tmp_path / "out")
    assert (report["left_out"], report["test"]["left_out"]) == (0, 3)
    assert report["test"]["documents"] == made[0]["test"]["documents"] - 3
    everything = pa.table({"id": [row["id"] for row in read_table(made[1] / "documents.parquet").to_pylist()]})
    everything = everything.append_column("digest", pa.array([""] * len(everything)))
    write_table(everything, tmp_path / "start/documents.parquet")
    with pytest.raises(UserError, match=r"trained before on all \d+ that there are"):
        evaluate(EvaluateConfig(**SMALL), inputs._replace(start=tmp_path / "start"), "causal", tmp_path / "none")


def test_what_compare_reads_of_documents_is_what_the_report_says(made: tuple[dict, Path]) -> None:
    report, out = made
    for split, said in (("validation", report), ("test", report["test"])):
        table = read_scores(out / SCORES, split)
        assert table is not None
        overlap, differences = compare_documents(table, table)
        assert overlap == (said["documents"], 0, 0, 0)
        figures = {name: measured.a for name, measured in differences.items()}
        assert figures == {name: said[name] for name in differences}


def test_same_bytes_twice(made: tuple[dict, Path], inputs: EvaluateInputs, tmp_path: Path) -> None:
    report, out = made
    assert evaluate(EvaluateConfig(**SMALL), inputs, "causal", tmp_path) == report
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        assert (tmp_path / path.relative_to(out)).read_bytes() == path.read_bytes(), path.name


def test_report_and_samples_are_json(made: tuple[dict, Path], tmp_path: Path) -> None:
    report, out = made
    write_json(tmp_path / "evaluate.json", report)
    assert report["continuations"] == 2
    assert 0 <= report["bleu"] <= 1
    samples = json.loads((out / "samples.json").read_text("utf-8"))
    assert len(samples["samples"]) == 3


def test_bounded_by_bytes(made: tuple[dict, Path], inputs: EvaluateInputs, tmp_path: Path) -> None:
    report = evaluate(
        EvaluateConfig(**(SMALL | {"max_bytes": 300, "continuations": 0, "bootstrap": 0})), inputs, "causal", tmp_path
    )
    assert 0 < report["tokens"] < made[0]["tokens"]
    assert 300 <= report["bytes"] < 700
    assert not {"bleu", "interval"} & set(report)
    assert (report["weak_spots"], report["slices_compared"]) == ([], 0)


@pytest.mark.parametrize("family", ["masked", "seq2seq"])
def test_the_other_families_have_the_same_figures_but_no_continuations(
    inputs_of, tmp_path: Path, family: str, made
) -> None:
    report = evaluate(EvaluateConfig(**SMALL), inputs_of(family), family, tmp_path)
    traits = TRAITS[family]
    missing = set(made[0]) - set(report)
    assert missing - {"interval", "clean_interval"} == {
        "continuations",
        "bleu",
        "bleu_interval",
        "chrf",
        "chrf_interval",
        "leaks",
        "bits_per_byte",
        "bits_per_byte_clean",
    }
    assert {traits.bits, traits.clean_bits} < set(report)
    assert traits.bits != "bits_per_byte", "no probability of a text, so another name"
    assert json.loads((tmp_path / "samples.json").read_text("utf-8"))["samples"][0]["truth"]


def test_parameters_out_of_range_are_named() -> None:
    with pytest.raises(UserError, match=r"evaluate\.batch_rows"):
        EvaluateConfig(batch_rows=0)
