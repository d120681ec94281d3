import json
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.core.report import write_json
from privllm.core.tables import read_table
from privllm.evaluate.recipe import EvaluateConfig, EvaluateInputs, evaluate, read_documents
from privllm.evaluate.scoring import ScoredPiece, choose_rows, score
from privllm.evaluate.slices import KINDS, tally
from privllm.evaluate.weak_spots import weak_spots
from privllm.stats.document_scores import SCORES, compare_documents, read_scores
from privllm.tokens.annotation_alignment import token_bytes
from privllm.tokens.encode import Encoder
from privllm.tokens.mixture import read_weights, weak_spots_of
from privllm.tokens.rows import shards_in

SMALL = {"continuations": 2, "prompt_tokens": 6, "continuation_tokens": 8, "sample_tokens": 6, "bootstrap": 50}


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
        assert {row["name"] for row in parts} == set(report[kind])
        for column in ("tokens", "bytes", "nats", "correct"):
            assert sum(row[column] for row in parts) == pytest.approx(whole[column]), (kind, column)
    assert set(report["by_source"]) <= {"manual", "mail", "."}
    assert {"unannotated", "NOUN"} <= set(report["by_pos"])
    assert set(report["by_entity"]) == {"unannotated", "SPACE", "outside", "ORG"}
    assert set(report["by_length"]) == {"0-1 kB"}
    assert report["slices_compared"] >= 5


def test_a_model_that_cannot_read_one_source_is_weak_there_and_pack_understands_it(
    inputs: EvaluateInputs, tmp_path: Path
) -> None:
    """Every document of `mail` is made to cost twice as much."""
    encoder = Encoder.open(inputs.tokenizer)
    sizes = token_bytes(encoder.reference.get_vocab())
    chosen = choose_rows(shards_in(inputs.rows), 10**6)
    scored: dict[str, list[ScoredPiece]] = {}
    for part in score("causal", inputs.model, chosen, 8, tmp_path / "tokens"):
        scored.setdefault(part.id, []).append(part)
    documents = list(read_documents(inputs, encoder, sizes, set(scored)))
    for document in documents:
        if document.source.startswith("mail/"):
            scored[document.id] = [part._replace(nats=part.nats * 2) for part in scored[document.id]]
    (spot, *_), _ = weak_spots(tally(documents, scored, sizes), 200, 1)
    assert (spot["kind"], spot["slice"]) == ("source", "mail")
    assert 1.8 < spot["ratio"] < 2.3
    write_json(tmp_path / "reports/evaluate/causal.json", {"weak_spots": [spot]})
    write_json(tmp_path / "weak_spots.json", weak_spots_of(tmp_path / "reports"))
    assert read_weights(tmp_path / "weak_spots.json", 1.5) == {"source": {"mail": 1.5}}


def test_documents_add_up_to_the_report(made: tuple[dict, Path], inputs: EvaluateInputs) -> None:
    report, out = made
    rows = read_table(out / "documents.parquet").to_pylist()
    sizes = {}
    for shard in sorted(inputs.documents.glob("*.parquet")):
        sizes |= {row["id"]: len(row["text"].encode()) for row in read_table(shard, ["id", "text"]).to_pylist()}
    assert [row["bytes"] for row in rows] == [sizes[row["id"]] for row in rows]
    assert sum(row["tokens"] for row in rows) == report["tokens"]
    assert len(rows) == report["documents"]
    assert report["interval"][0] < report["bits_per_byte"] < report["interval"][1]


def test_what_compare_reads_of_documents_is_what_the_report_says(made: tuple[dict, Path]) -> None:
    report, out = made
    table = read_scores(out / SCORES)
    assert table is not None
    overlap, differences = compare_documents(table, table)
    assert overlap == (report["documents"], 0, 0, 0)
    figures = {name: measured.a for name, measured in differences.items()}
    assert figures == {name: report[name] for name in differences}


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


def test_bounded_by_rows(made: tuple[dict, Path], inputs: EvaluateInputs, tmp_path: Path) -> None:
    report = evaluate(
        EvaluateConfig(**(SMALL | {"max_rows": 4, "continuations": 0, "bootstrap": 0})), inputs, "causal", tmp_path
    )
    assert report["rows"] == 4
    assert 0 < report["tokens"] < made[0]["tokens"]
    assert not {"bleu", "interval"} & set(report)
    assert (report["weak_spots"], report["slices_compared"]) == ([], 0)


@pytest.mark.parametrize("family", ["masked", "seq2seq"])
def test_the_other_families_have_the_same_figures_but_no_continuations(
    inputs_of, tmp_path: Path, family: str, made
) -> None:
    report = evaluate(EvaluateConfig(**SMALL), inputs_of(family), family, tmp_path)
    assert set(made[0]) - set(report) == {"continuations", "bleu", "chrf"}
    assert json.loads((tmp_path / "samples.json").read_text("utf-8"))["samples"][0]["truth"]


def test_parameters_out_of_range_are_named() -> None:
    with pytest.raises(UserError, match=r"evaluate\.batch_rows"):
        EvaluateConfig(batch_rows=0)
