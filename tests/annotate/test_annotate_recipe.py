"""annotate as a whole: what it writes, what it counts, and that it is the same again."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from privllm.annotate import recipe
from privllm.annotate.recipe import AnnotateConfig, annotate
from privllm.annotate.spans import language_of, own_pipeline
from privllm.core.errors import UserError
from privllm.core.records import ANNOTATIONS, DEDUPED, document_id, shard_name, shard_of
from privllm.core.split import SplitConfig, split_of
from privllm.core.tables import read_folder, read_table, shards_of, write_table
from privllm.engine.cache import Cache
from privllm.engine.store import Store, work_counts
from privllm.nlp.packaged_model import NAME, packaged_folder

SPLIT = SplitConfig(validation=0.2, test=0.2)
BITS = 2


def write_deduped(texts: dict[str, str], folder: Path) -> None:
    blank = {"media_type": "text/plain", "digest": "", "language": "en", "language_score": 1.0, "placeholders": 0}
    rows: list[dict] = []
    for source, text in texts.items():
        name = document_id(source)
        ids = {"id": name, "source": source, "cluster": name, "split": split_of(SPLIT, name)}
        rows.append(blank | ids | {"text": text})
    for shard in range(1 << BITS):
        write_table(
            pa.Table.from_pylist([row for row in rows if shard_of(row["id"], BITS) == shard], DEDUPED),
            folder / shard_name(shard),
        )


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    write_deduped(
        {f"page{i}": f"Page {i} is about Berlin. Anna wrote it on Monday." for i in range(40)}, tmp_path / "dedup"
    )
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_what_is_written_and_counted(corpus: Path) -> None:
    report = annotate(AnnotateConfig(fraction=1.0), corpus / "dedup", corpus / "base", corpus / "annotate")
    table = read_folder(corpus / "annotate")
    assert sorted(contents(corpus / "annotate")) == [shard_name(i) for i in range(1 << BITS)]
    assert table.schema == ANNOTATIONS
    assert table["id"].to_pylist() == sorted(document_id(f"page{i}") for i in range(40))
    rows = table.to_pylist()
    assert report == {
        "documents": 40,
        "characters": sum(len(f"Page {i} is about Berlin. Anna wrote it on Monday.") for i in range(40)),
        "tokens": sum(len(row["pos"]) for row in rows),
        "entities": sum(len(row["entity_label"]) for row in rows),
        "by_pos": dict(Counter(tag for row in rows for tag in row["pos"])),
        "by_split": dict(Counter(split_of(SPLIT, row["id"]) for row in rows)),
        "uncovered": {},
    }
    assert "GPE" in {label for row in rows for label in row["entity_label"]}


def test_the_same_bytes_again(corpus: Path) -> None:
    cfg = AnnotateConfig(limit=600)
    reports = [annotate(cfg, corpus / "dedup", corpus / "base", corpus / name) for name in ("one", "two")]
    assert reports[0] == reports[1]
    assert 0 < reports[0]["documents"] < 40
    assert contents(corpus / "one") == contents(corpus / "two")


def test_an_annotated_document_is_the_same_under_any_budget(corpus: Path) -> None:
    for limit in (300, 1_000):
        annotate(AnnotateConfig(limit=limit), corpus / "dedup", corpus / "base", corpus / str(limit))
    few, many = ({row["id"]: row for row in read_folder(corpus / limit).to_pylist()} for limit in ("300", "1000"))
    assert 0 < len(few) < len(many)
    assert few.items() <= many.items()


def test_what_nobody_reads_is_left_out_and_the_choice_stays(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = AnnotateConfig(fraction=1.0)
    whole = annotate(cfg, corpus / "dedup", corpus / "base", corpus / "whole")
    report = annotate(cfg, corpus / "dedup", corpus / "base", corpus / "part", splits=("test",))
    assert "unread" not in whole
    assert report["by_split"] == {"train": 0, "validation": 0, "test": whole["by_split"]["test"]}
    assert report["unread"] == whole["documents"] - report["documents"] > 0
    assert f"note: {report['unread']} documents are not annotated" in capsys.readouterr().err
    everything = {row["id"]: row for row in read_folder(corpus / "whole").to_pylist()}
    read = read_folder(corpus / "part").to_pylist()
    assert read
    assert all(row == everything[row["id"]] for row in read)


def test_a_long_document_is_annotated_in_part(tmp_path: Path) -> None:
    write_deduped({"long": "They walked home. " * 100}, tmp_path / "dedup")
    report = annotate(
        AnnotateConfig(fraction=1.0, max_characters=100),
        tmp_path / "dedup",
        tmp_path / "base",
        tmp_path / "annotate",
    )
    row = next(iter(read_folder(tmp_path / "annotate").to_pylist()))
    assert report["characters"] == 94
    assert row["token_end"][-1] == 94


@pytest.mark.parametrize("texts", [{}, {"a": ""}])
def test_nothing_to_annotate_still_makes_every_shard(texts: dict[str, str], tmp_path: Path) -> None:
    write_deduped(texts, tmp_path / "dedup")
    report = annotate(AnnotateConfig(), tmp_path / "dedup", tmp_path / "base", tmp_path / "annotate")
    assert report == {
        "documents": 0,
        "characters": 0,
        "tokens": 0,
        "entities": 0,
        "by_pos": {},
        "by_split": {"train": 0, "validation": 0, "test": 0},
        "uncovered": {},
    }
    assert len(contents(tmp_path / "annotate")) == 1 << BITS
    assert read_folder(tmp_path / "annotate").schema == ANNOTATIONS


def put_own_pipeline(base: Path) -> None:
    """Put a pipeline of the user's own where params.yaml can name it."""
    packaged = packaged_folder()
    assert packaged
    shutil.copytree(packaged, base / "own")


def test_a_pipeline_of_ones_own(corpus: Path) -> None:
    put_own_pipeline(corpus / "base")
    packaged = annotate(AnnotateConfig(), corpus / "dedup", corpus / "base", corpus / "packaged")
    own = annotate(AnnotateConfig(models=["data/base/own"]), corpus / "dedup", corpus / "base", corpus / "own")
    assert own == packaged
    assert contents(corpus / "own") == contents(corpus / "packaged")


def test_another_pipeline_of_that_name_annotates_anew(corpus: Path) -> None:
    put_own_pipeline(corpus / "base")
    store = Store(Cache(corpus / "cache"), "code")
    cfg = AnnotateConfig(models=["data/base/own"], limit=600)
    shards_made = []
    for _ in range(2):
        before = work_counts["made"]
        annotate(cfg, corpus / "dedup", corpus / "base", corpus / "annotate", store)
        shards_made.append(work_counts["made"] - before)
    (corpus / "base/own/README.md").write_text("another")
    before = work_counts["made"]
    annotate(cfg, corpus / "dedup", corpus / "base", corpus / "annotate", store)
    assert [*shards_made, work_counts["made"] - before] == [1 << BITS, 0, 1 << BITS]


def put_pipeline_for(language: str, base: Path, name: str) -> None:
    """Put the packaged pipeline into `base`, as one for another language."""
    put_own_pipeline(base)
    (base / "own").rename(base / name)
    meta = json.loads((base / name / "meta.json").read_text("utf-8"))
    (base / name / "meta.json").write_text(json.dumps(meta | {"lang": language}))


@pytest.mark.slow
@pytest.mark.parametrize(("language", "documents"), [("en", 40), ("fr", 0), ("xx", 40)])
def test_a_pipeline_reads_documents_in_its_language(
    language: str, documents: int, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_pipeline_for(language, corpus / "base", "own")
    assert language_of(own_pipeline("data/base/own", corpus / "base")) == language.replace("xx", "")
    cfg = AnnotateConfig(models=["data/base/own"], fraction=1.0)
    report = annotate(cfg, corpus / "dedup", corpus / "base", corpus / "annotate")
    assert report["documents"] == documents
    assert report["uncovered"] == ({} if documents else {"en": 40})
    said = "annotate has no pipeline for the language of 40 documents (en 40), beside 0 that it chose"
    assert (said in capsys.readouterr().out) == (not documents)


def write_in_two_languages(folder: Path) -> None:
    english, german = {f"page{i}": f"Page {i} is short." for i in range(20)}, {f"seite{i}": "Kurz." for i in range(20)}
    write_deduped(english | german | {"unknown": "?!"}, folder)
    sources = {document_id(source): "de" for source in german} | {document_id("unknown"): ""}
    for path in shards_of(folder):
        rows = [row | {"language": sources.get(row["id"], "en")} for row in read_table(path).to_pylist()]
        write_table(pa.Table.from_pylist(rows, DEDUPED), path)


def test_each_language_has_its_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_in_two_languages(tmp_path / "dedup")
    put_pipeline_for("de", tmp_path / "base", "german")
    used: dict[str, set[str]] = {}
    real = recipe.annotate_text

    def noted(location: str, text: str) -> dict[str, list]:
        used.setdefault(location, set()).add(text.split()[0])
        return real(location, text)

    monkeypatch.setattr(recipe, "annotate_text", noted)
    cfg = AnnotateConfig(models=[NAME, "data/base/german"], fraction=1.0)
    report = annotate(cfg, tmp_path / "dedup", tmp_path / "base", tmp_path / "annotate")
    assert (report["documents"], report["uncovered"]) == (41, {})
    assert used == {NAME: {"Page", "?!"}, str(tmp_path / "base/german"): {"Kurz."}}


def test_a_second_pipeline_makes_only_what_needs_it(tmp_path: Path) -> None:
    write_in_two_languages(tmp_path / "dedup")
    put_pipeline_for("de", tmp_path / "base", "german")
    table = read_table(shards_of(tmp_path / "dedup")[0])
    only_english = table.filter(pc.not_equal(table["language"], "de"))
    write_table(only_english, shards_of(tmp_path / "dedup")[0])
    store = Store(Cache(tmp_path / "cache"), "code")
    made = []
    for models in ([NAME], [NAME, "data/base/german"]):
        before = work_counts["made"]
        cfg = AnnotateConfig(models=models, fraction=1.0)
        annotate(cfg, tmp_path / "dedup", tmp_path / "base", tmp_path / "annotate", store)
        made.append(work_counts["made"] - before)
    assert made == [1 << BITS, (1 << BITS) - 1]


def test_two_pipelines_for_one_language_are_refused(corpus: Path) -> None:
    put_own_pipeline(corpus / "base")
    with pytest.raises(UserError, match=r"are both for the language `en`"):
        annotate(AnnotateConfig(models=[NAME, "data/base/own"]), corpus / "dedup", corpus / "base", corpus / "annotate")


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("config.cfg", None, r"holds no config\.cfg"),
        ("meta.json", None, r"holds no meta\.json"),
        ("meta.json", "{", "not valid JSON"),
        ("meta.json", "{}", "names no `lang`"),
    ],
)
def test_a_folder_that_is_no_pipeline(name: str, content: str | None, fault: str, corpus: Path) -> None:
    put_own_pipeline(corpus / "base")
    path = corpus / "base/own" / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(UserError, match=rf"annotate\.models.*{fault}"):
        annotate(AnnotateConfig(models=["data/base/own"]), corpus / "dedup", corpus / "base", corpus / "annotate")


def test_a_link_that_leads_elsewhere_is_refused(corpus: Path) -> None:
    put_own_pipeline(corpus / "base")
    (corpus / "elsewhere").write_text("")
    (corpus / "base/own/notes").symlink_to(corpus / "elsewhere")
    with pytest.raises(UserError, match="which the build does not track"):
        annotate(AnnotateConfig(models=["data/base/own"]), corpus / "dedup", corpus / "base", corpus / "annotate")


def test_a_pipeline_that_is_not_there(corpus: Path) -> None:
    with pytest.raises(UserError, match=r"base/none is not there .*dvc pull"):
        annotate(AnnotateConfig(models=["data/base/none"]), corpus / "dedup", corpus / "base", corpus / "annotate")


@pytest.mark.parametrize(
    "values", [{"models": ["xx_unknown"]}, {"models": []}, {"fraction": 1.5}, {"limit": -1}, {"max_characters": 10}]
)
def test_parameters_out_of_range(values: dict) -> None:
    with pytest.raises(UserError, match=r"annotate\."):
        AnnotateConfig(**values)
