"""forget: what was removed is gone from every output, what stays is untouched, and the proof fails where something is left."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml

from privllm.clean.recipe import CleanConfig, clean
from privllm.collect.documents import Quarantined
from privllm.collect.recipe import CollectConfig, collect
from privllm.core.errors import UserError
from privllm.core.params import read_params
from privllm.core.promoted import SIDES_FILE, SIDES_FOLDER
from privllm.core.records import document_id
from privllm.core.seed import digest
from privllm.core.split import SPLITS, SplitConfig
from privllm.core.tables import read_folder, read_table, write_table
from privllm.core.work_paths import FORGET_NOTE
from privllm.dedup.recipe import DedupConfig, dedup
from privllm.dedup.sides import merged, sides_of
from privllm.manage import forget as module
from privllm.manage.forget import ForgetOptions, _build, confirm, forget
from privllm.manage.forget_report import counted
from privllm.manage.forgotten_documents import gather_traces, hash_word_runs, load
from privllm.manage.source_files import blank, numbered, read, select
from privllm.manage.trace import PROMOTED, trace
from privllm.manage.verify_removal import _decode_packed, hex_names, output_files, prove_removal, string_arrays, views
from privllm.tokens.encode import Encoder
from privllm.tokens.kept_vocabulary import DOCUMENTS, KEPT, SAMPLED, VOCABULARY
from privllm.tokens.pack import PackConfig, pack
from privllm.tokens.trained_documents import TRAINED
from privllm.tokens.vocabulary import TokenizerConfig, learn_tokenizer
from privllm.tokens.vocabulary_sample import SampleConfig, write_sample
from tests.workshop import Workshop, make_workshop

PARAMS = {
    "collect": {"shard_bits": 1},
    "split": {"validation": 0.3, "test": 0.3},
    "tokenizer": {"vocabulary": 320},
    "pack": {"context": 16},
}
STAGES = {
    name: {"cmd": "true", "outs": [f"data/{name}"], "metrics": [{f"reports/{name}.json": {"cache": False}}]}
    for name in ("collect", "clean", "dedup", "tokenizer", "pack", "report")
}
NAMES = "ash birch cedar elm fir hazel larch maple oak pine rowan willow".split()
FOOTER = "This letter was written at the desk in the long room of the old town hall, as it is the custom of this house."


def letter(name: str) -> str:
    """Some forty words in sentences that no other name's letter shares, and a footer that all share."""
    said = f"The {name} stands by the gate and its {name} leaves are {name} green in the spring, while in the autumn the {name} is red"
    return f"{said} and gold. My neighbour {name} told me that {name} wood is good for a table and for a bench by the {name} fire. {FOOTER}"


def build(root: Path) -> None:
    """The data stages in this process, as `dvc repro pack` would run them, without a store."""
    data, params = root / "data", root / "params.yaml"
    split = read_params("split", SplitConfig, params)
    collect(read_params("collect", CollectConfig, params), data / "sources", data / "collect")
    clean(read_params("clean", CleanConfig, params), data / "collect", data / "clean")
    dedup(read_params("dedup", DedupConfig, params), split, data / "clean", data / "dedup")
    write_sample(read_params("sample", SampleConfig, params), data / "dedup", data / "dedup/sample")
    learn_tokenizer(read_params("tokenizer", TokenizerConfig, params), data / "dedup/sample", data / "tokenizer")
    pack(read_params("pack", PackConfig, params), data / "dedup", data / "tokenizer", data / "pack")
    (root / "reports").mkdir(exist_ok=True)
    (root / "reports/pack.json").write_text('{"documents": {"train": 3}}')


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small build: letters as text, HTML and JSONL, one of them twice. `dvc repro` is the data stages in this process."""
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    folder = tmp_path / "data/sources"
    (folder / "post/old").mkdir(parents=True)
    for name in NAMES[:7]:
        (folder / f"post/{name}.txt").write_text(letter(name))
    (folder / "post/old/willow.html").write_text(f"<html><body><p>{letter('willow')}</p></body></html>")
    (folder / "copy.txt").write_text(letter("ash"))
    (folder / "many.jsonl").write_text("".join(json.dumps({"text": letter(name)}) + "\n" for name in NAMES[7:11]))
    build(tmp_path)
    monkeypatch.setattr(module, "_build", build)
    return tmp_path


def forgotten(root: Path, *words: str, **terms: object) -> str:
    """What `forget` says."""
    said: list[str] = []
    forget(root, list(words), ForgetOptions(said.append, **terms))  # type: ignore[arg-type]
    return "\n".join(said)


def nowhere(root: Path, source: str) -> bool:
    try:
        trace(root, source)
    except UserError:
        return True
    return False


@pytest.mark.parametrize(
    "source", ["post/birch.txt", "post/old/willow.html", "many.jsonl#2", "data/sources/post/cedar.txt"]
)
def test_what_is_forgotten_was_never_there(root: Path, source: str) -> None:
    known = source.removeprefix("data/sources/")
    before = {fate.source: fate.fate for fate in trace(root, ".").documents}
    said = forgotten(root, source)
    assert "No trace of them was found." in said
    assert "for 1 document:" in said
    assert nowhere(root, known)
    after = {fate.source: fate.fate for fate in trace(root, ".").documents}
    assert after == {source: fate for source, fate in before.items() if source != known}
    assert not (root / FORGET_NOTE).exists()


@pytest.mark.slow
@pytest.mark.parametrize("source", ["in.mbox#alder@example.org", "rows.csv#aspen"])
def test_a_mail_and_a_row_are_forgotten_as_files_are(root: Path, source: str) -> None:
    mail = "From me Thu Nov 26 04:23:00 2026\nSubject: on {0}\nMessage-ID: <{0}@example.org>\n\n{1}\n\n"
    mails = [mail.format(name, letter(name)) for name in ("yew", "alder", "rowan tree")]
    (root / "data/sources/in.mbox").write_text("".join(mails))
    rows = [f'{name},"{letter(name)}"' for name in ("aspen", "poplar")]
    (root / "data/sources/rows.csv").write_text("\n".join(["id,text", *rows, ""]))
    build(root)
    before = {fate.source: fate.fate for fate in trace(root, ".").documents}
    assert source in before
    said = forgotten(root, source)
    assert "Removed 0 files, 0 lines of JSONL and 1 part of other files from data/sources." in said
    assert "No trace of them was found." in said
    assert nowhere(root, source)
    after = {fate.source: fate.fate for fate in trace(root, ".").documents}
    assert after == {name: fate for name, fate in before.items() if name != source}
    left = (root / "data/sources" / source.partition("#")[0]).read_text()
    assert left.count(source.partition("#")[2].partition("@")[0]) == 0


def test_folders_go_and_nothing_else(root: Path) -> None:
    kept = {
        path: path.read_bytes()
        for path in (root / "data/sources").rglob("*.*")
        if "old" not in path.parts and path.is_file()
    }
    forgotten(root, "post/old")
    assert not (root / "data/sources/post/old").exists()
    assert {path: path.read_bytes() for path in (root / "data/sources").rglob("*.*") if path.is_file()} == kept


def test_shared_words_are_named_not_counted_as_left(root: Path) -> None:
    """All letters have a footer, and a copy says the same: neither proves that this file is still there."""
    said = forgotten(root, "post/ash.txt")
    assert "No evidence, because remaining documents have them too" in said
    assert "copy.txt (" in said
    assert "No trace of them was found." in said
    footer = forgotten(root, "post/elm.txt")
    assert "No evidence, because remaining documents have them too" in footer


@pytest.mark.slow
def test_an_incumbent_that_learnt_them_is_said_to_carry_them(root: Path) -> None:
    learnt = pa.table([[document_id("post/birch.txt"), document_id("post/elm.txt")], ["1", "2"]], schema=TRAINED)
    write_table(learnt, root / PROMOTED / "documents.parquet")
    said = forgotten(root, "post/birch.txt")
    assert "THE INCUMBENT WAS TRAINED ON THEM" in said
    assert "the last promoted model (data/promoted/model/incumbent) was trained on 1 of 1 document" in said
    assert "set `base` to `scratch`" in said
    assert "So does this build's" not in said
    assert "INCUMBENT" not in forgotten(root, "post/cedar.txt")  # which it never saw


def test_a_build_that_starts_from_such_an_incumbent_is_not_rid_of_them(root: Path) -> None:
    learnt = pa.table([[document_id("post/birch.txt")], ["1"]], schema=TRAINED)
    for path in (root / PROMOTED, root / "data/start/causal"):
        write_table(learnt, path / "documents.parquet")
    declared = {"start": {"cmd": "true", "outs": ["data/start"]}}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES | declared}))
    (root / "params.yaml").write_text(
        yaml.safe_dump(PARAMS | {"base": {"causal": "incumbent", "tokenizer": "scratch"}})
    )
    said: list[str] = []
    with pytest.raises(UserError, match=r"left in data/start/causal/documents\.parquet"):
        forget(root, ["post/birch.txt"], ForgetOptions(said.append))
    assert "So does this build's model: base.causal in params.yaml is `incumbent`." in said


@pytest.fixture
def recorded(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The build, once it was promoted; DVC is not asked."""
    monkeypatch.setattr("privllm.manage.forget.track", lambda root, path: None)
    sides = sides_of(root / "data/dedup")
    moved = sides.filter(pc.equal(sides["id"], document_id("post/elm.txt")))
    gone = moved.set_column(
        0, "id", pa.array([document_id("before/elm.txt")])
    )  # where the text lay in an earlier build
    write_table(merged(sides, gone), root / SIDES_FOLDER / SIDES_FILE)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("source", ["post/elm.txt", "post/ash.txt", "many.jsonl#2"])
def test_recorded_sides_go_with_their_documents(recorded: Path, source: str) -> None:
    """Those of a copy that stays (of ash) stay; those of the same text under an earlier name (of elm) go."""
    file = recorded / SIDES_FOLDER / SIDES_FILE
    before = read_table(file)["id"].to_pylist()
    said = forgotten(recorded, source)
    expected = {document_id(source), *([document_id("before/elm.txt")] if "elm" in source else [])}
    assert set(before) - set(read_table(file)["id"].to_pylist()) == expected
    assert f"Removed {counted(len(expected), 'record')} of their side of the split" in said
    assert "No trace of them was found." in said


@pytest.mark.parametrize(("source", "stays"), [("post/birch.txt", False), ("post/cedar.txt", True)])
def test_a_kept_vocabulary_goes_with_a_document_of_its_sample(root: Path, source: str, stays: bool) -> None:
    kept = root / VOCABULARY / KEPT
    write_table(pa.table([[BIRCH], ["0" * 32]], schema=SAMPLED), kept / DOCUMENTS)
    (root / VOCABULARY / f"{KEPT}.dvc").write_text("outs: []")
    said = forgotten(root, source)
    assert ("Removed the kept vocabulary, which was learnt on 1 of them" in said) is not stays
    assert kept.exists() is stays
    assert (root / VOCABULARY / f"{KEPT}.dvc").exists() is stays
    assert "No trace of them was found." in said


@pytest.mark.parametrize("column", ["id", "digest"])
def test_a_recorded_side_that_was_left_is_found(recorded: Path, monkeypatch: pytest.MonkeyPatch, column: str) -> None:
    file = recorded / SIDES_FOLDER / SIDES_FILE
    records = read_table(file)
    left = records.filter(pc.equal(records["id"], BIRCH))
    if column == "digest":
        left = left.set_column(0, "id", pa.array(["0" * 32]))

    def careless(root: Path) -> None:
        build(root)
        write_table(left, file)

    monkeypatch.setattr(module, "_build", careless)
    with pytest.raises(UserError, match=r"left in data/promoted/sides/sides\.parquet"):
        forgotten(recorded, "post/birch.txt")


BIRCH = document_id("post/birch.txt")
WITHOUT_FOOTER = letter("birch").removesuffix(FOOTER)
LEFT = {
    "in a report": ("reports/pack.json", json.dumps({"examples": [{"text": f"x {WITHOUT_FOOTER}"}]})),
    "escaped in a page": (
        "reports/report.json",
        json.dumps(json.dumps({"page": WITHOUT_FOOTER.replace(" ", "&#32;<b>", 20)})),
    ),
    "in HTML": ("data/report/index.html", f"<table><td>{WITHOUT_FOOTER.replace(' is ', ' <i>is</i> ')}</td></table>"),
    "by name": ("data/report/list.html", "<ul><li>post/birch.txt</li></ul>"),
    "in plain text": ("data/report/notes.txt", f"one\n{WITHOUT_FOOTER}\n"),
    "by name on a line": ("data/report/notes.txt", "one\n  post/birch.txt\ntwo\n"),
    "by name as a key": ("reports/pack.json", json.dumps({"documents": {"post/birch.txt": 3}})),
    "by its id within a longer string": (
        "reports/pack.json",
        json.dumps({"example": f"drawn from {BIRCH}-17 by hash"}),
    ),
    "by its digest": ("reports/pack.json", json.dumps({"digest": digest(letter("birch").encode())})),
    "in JSON that was cut": ("reports/pack.json", f'{{"text": "{WITHOUT_FOOTER}'),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", LEFT)
def test_a_text_that_was_left_somewhere_is_found(root: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    file, content = LEFT[how]

    def careless(root: Path) -> None:
        build(root)
        (root / file).parent.mkdir(exist_ok=True)
        (root / file).write_text(content)

    monkeypatch.setattr(module, "_build", careless)
    said: list[str] = []
    with pytest.raises(UserError, match=file):
        forget(root, ["post/birch.txt"], ForgetOptions(said.append))
    assert f"FOUND in {file}" in "\n".join(said)
    assert "of post/birch.txt" in "\n".join(said)
    monkeypatch.setattr(module, "_build", build)
    (root / file).unlink()
    assert "No trace of them was found." in forgotten(root, "post/birch.txt"), (
        "the note of what to look for is kept until it is gone"
    )
    assert not (root / FORGET_NOTE).exists()


@pytest.mark.parametrize("stage", ["collect", "clean", "dedup", "pack"])
def test_a_stage_that_did_not_run_is_found_out(root: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """The old shards of one stage beside the new ones of all others."""

    def lazy(root: Path) -> None:
        (root / "data" / stage).rename(root / "old")
        build(root)
        subprocess.run(["rm", "-r", root / "data" / stage], check=True)
        (root / "old").rename(root / "data" / stage)

    monkeypatch.setattr(module, "_build", lazy)
    with pytest.raises(UserError, match=f"data/{stage}/"):
        forgotten(root, "post/fir.txt")


def test_tokens_are_read_as_words(root: Path) -> None:
    """A row that holds the text but not the id: only decoding can tell."""
    note = note_of(root, "post/fir.txt")
    (root / "data/sources/post/fir.txt").unlink()
    build(root)
    assert not prove_removal(root, note, module.source_reader(root)).left
    split = next(split for split in SPLITS if (root / f"data/pack/{split}/00000.arrow").stat().st_size > 2000)
    path = root / f"data/pack/{split}/00000.arrow"
    rows = pa.ipc.open_stream(path).read_all()
    tokens = Encoder.open(root / "data/tokenizer").encode([letter("fir")])[0].tolist()
    first = rows["input_ids"].to_pylist()[0][0]
    cut = [[first, *tokens[:16]], *([tokens[i - 1], *tokens[i : i + 16]] for i in range(16, len(tokens), 16))]
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(pa.table([cut, [[]] * len(cut)], schema=rows.schema))
    assert list(prove_removal(root, note, module.source_reader(root)).left) == [f"data/pack/{split}/00000.arrow"]


def test_rows_are_put_together_as_they_were_cut(root: Path) -> None:
    """Each document by itself and whole, to its first and last word: a run may stand at either end."""
    texts = {row["id"]: row["text"] for row in read_folder(root / "data/dedup", ["id", "text"]).to_pylist()}
    found = []
    for path in sorted((root / "data/pack").glob("*/*.arrow")):
        if path.parent.name in SPLITS:
            found += list(_decode_packed(list(pa.ipc.open_stream(path)), root / "data/tokenizer/tokenizer.json"))
    assert sorted(found) == sorted(texts.values())
    tokens = Encoder.open(root / "data/tokenizer").encode([letter("fir")])[0].tolist()
    cut = pa.record_batch([pa.array([tokens[:5], tokens[4:]], pa.list_(pa.int32()))], names=["input_ids"])
    assert list(_decode_packed([cut], root / "data/tokenizer/tokenizer.json")) == [letter("fir")], (
        "a shard that begins within a text"
    )


def test_every_note_is_read_anew(root: Path) -> None:
    """Two calls of one process: what the second looks for is not what the first looked for."""
    report = root / "reports/pack.json"
    for name in ("birch", "elm"):
        note = note_of(root, f"post/{name}.txt")
        (root / f"data/sources/post/{name}.txt").unlink()
        report.write_text("{}")
        build(root)
        report.write_text(json.dumps({"text": letter(name).removesuffix(FOOTER)}))
        assert "reports/pack.json" in prove_removal(root, note, module.source_reader(root)).left


def test_words_of_all_that_was_made_of_a_page_are_looked_for(root: Path) -> None:
    """Between markup no thirteen words stand together, so only what collect and clean made of the page knows its runs."""
    page, text = root / "data/sources/post/marked.html", letter("spruce").removesuffix(FOOTER)

    def write(words: str) -> None:
        page.write_text(
            "<html><body><p>"
            + " ".join(f"<b class='c{i}'>{word}</b>" for i, word in enumerate(words.split()))
            + "</p></body></html>"
        )

    write(text)
    build(root)
    before = page.read_text()
    write(letter("poplar").removesuffix(FOOTER))  # edited, and not built again
    evidence = gather_traces(root, read(page, root / "data/sources", 10**9), {})
    for words in (text, before, page.read_text()):
        assert evidence.has_runs(hash_word_runs([words])[0]).all(), words


def test_words_of_what_clean_dropped_are_looked_for(root: Path) -> None:
    page, words = (
        root / "data/sources/post/short.html",
        "fifteen words of a page that is dropped because it is much too short for us",
    )
    page.write_text("<p>" + " ".join(f"<i class='c{i}'>{word}</i>" for i, word in enumerate(words.split())) + "</p>")
    (root / "params.yaml").write_text(yaml.safe_dump(PARAMS | {"clean": {"profile": "web"}}))
    build(root)
    assert trace(root, "post/short.html").documents[0].fate == "dropped by clean"
    assert gather_traces(root, read(page, root / "data/sources", 10**9), {}).has_runs(hash_word_runs([words])[0]).all()


def test_a_file_that_was_not_read_and_one_of_few_words_can_be_forgotten(root: Path) -> None:
    """The first has no digest and the second no run of words; neither makes everything, or nothing, evidence."""
    refused = Quarantined("post/large.txt", "", 10**12, "too_large", "")
    evidence = gather_traces(root, [refused], {})
    assert evidence.names == {"post/large.txt", document_id("post/large.txt")}
    assert not evidence.has_runs(hash_word_runs([letter("fir")])[0]).any()
    (root / "data/sources/few.txt").write_text("Two words.")
    build(root)
    assert "No trace of them was found." in forgotten(root, "few.txt")


def note_of(root: Path, word: str) -> Path:
    selection = select(root / "data/sources", [word])
    gather_traces(root, [row for path in selection.files for row in read(path, root / "data/sources", 10**9)], {}).save(
        root
    )
    return root / FORGET_NOTE


def test_weights_are_searched_for_ids_only(root: Path) -> None:
    note = note_of(root, "post/fir.txt")
    (root / "data/sources/post/fir.txt").unlink()
    build(root)
    (root / "data/report").mkdir()
    weights = root / "data/report/model.safetensors"
    weights.write_bytes(b"\0" * 10 + letter("fir").encode())
    proof = prove_removal(root, note, module.source_reader(root))
    assert (proof.binary, proof.left) == (1, {})
    weights.write_bytes(b"\0\xff" + load(note).table["id"][0].as_py().encode() + b"\0")
    assert list(prove_removal(root, note, module.source_reader(root)).left) == ["data/report/model.safetensors"]


def test_a_row_that_claims_to_be_another_document_explains_nothing(root: Path) -> None:
    """What a document that stays says is read from the sources: a table of the build is not believed."""
    note = note_of(root, "post/fir.txt")
    text = letter("fir")
    (root / "data/sources/post/fir.txt").unlink()
    build(root)
    for path in sorted((root / "data/collect").glob("*.parquet")):
        table = read_table(path)
        i = table.schema.get_field_index("text")
        write_table(table.set_column(i, "text", pa.array([text] * len(table), pa.string())), path)
    proof = prove_removal(root, note, module.source_reader(root))
    assert set(proof.left) == {"data/collect/00000.parquet", "data/collect/00001.parquet"}


def test_every_declared_output_is_searched(root: Path) -> None:
    found = {str(path.relative_to(root)) for path in output_files(root)}
    everything = {
        str(path.relative_to(root))
        for path in (root / "data").rglob("*")
        if path.is_file() and "sources" not in path.parts
    }
    assert found == everything | {"reports/pack.json"}


def test_without_repro_nothing_is_built_and_the_next_call_proves(root: Path) -> None:
    said = forgotten(root, "post/birch.txt", repro=False)
    assert "dvc repro" in said
    assert not (root / "data/sources/post/birch.txt").exists()
    assert trace(root, "post/birch.txt").documents[0].fate != "not in the build"
    assert "its file is gone already" in forgotten(root, "post/birch.txt", repro=False)
    build(root)
    assert "No trace of them was found." in forgotten(root, "post/birch.txt"), (
        "noted, though neither sources nor build know it now"
    )


def test_what_was_put_back_is_not_forgotten(root: Path) -> None:
    text = (root / "data/sources/post/birch.txt").read_bytes()
    forgotten(root, "post/birch.txt", repro=False)
    (root / "data/sources/post/birch.txt").write_bytes(text)
    assert "for 1 document:" in forgotten(root, "post/elm.txt")
    assert not nowhere(root, "post/birch.txt")


def test_an_edited_document_is_looked_for_as_it_was_and_as_it_is(root: Path) -> None:
    path = root / "data/sources/post/birch.txt"
    path.write_text(letter("poplar"))
    evidence = gather_traces(root, read(path, root / "data/sources", 10**9), {})
    for name in ("birch", "poplar"):
        assert evidence.has_runs(hash_word_runs([letter(name)])[0]).all()
    assert len(evidence.digests) == 2


def test_nothing_happens_without_a_yes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    questions: list[str] = []
    with pytest.raises(UserError, match="nothing was removed"):
        forgotten(root, "post/birch.txt", ask=lambda question: bool(questions.append(question)))
    assert questions
    with pytest.raises(UserError, match="--yes"):
        forgotten(root, "post/birch.txt", ask=confirm)
    assert (root / "data/sources/post/birch.txt").exists()
    assert not (root / FORGET_NOTE).exists()
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    for answer, agreed in (("y", True), ("yes ", True), ("", False), ("n", False)):
        monkeypatch.setattr("builtins.input", lambda _question, answer=answer: answer)
        assert confirm("?") is agreed


def test_interrupted_anywhere_it_goes_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    for moment in ("remove", "_build", "prove_removal"):
        with monkeypatch.context() as patch:
            patch.setattr(module, moment, interrupted)
            with pytest.raises(KeyboardInterrupt):
                forgotten(root, "post/birch.txt", "many.jsonl#1")
        assert len(load(root / FORGET_NOTE)) == 2
    assert "for 2 documents" in forgotten(root, "post/birch.txt", "many.jsonl#1")
    assert nowhere(root, "post/birch.txt")


@pytest.mark.slow
def test_the_build_is_waited_for_and_its_failure_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C reaches DVC and us at once; DVC may still be writing when we could have gone."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$*" > said; exit 3\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(UserError, match="code 3"):
        _build(tmp_path)
    assert (tmp_path / "said").read_text() == "-P -m dvc repro\n"
    python.write_text("#!/bin/sh\nkill -INT $PPID; sleep 0.5; touch ended\n")
    with pytest.raises(KeyboardInterrupt):
        _build(tmp_path)
    assert (tmp_path / "ended").exists()


def test_wrong_paths_remove_nothing(root: Path) -> None:
    before = sorted((root / "data/sources").rglob("*"))
    (root / "elsewhere").mkdir()
    (root / "data/sources/link").symlink_to(root / "elsewhere")
    (root / "elsewhere/x.txt").write_text("x")
    for word, reason in (
        ("post/brch.txt", "Did you mean post/birch.txt"),
        ("many.jsonl#9", "neither"),
        ("../../params.yaml", "does not lie below"),
        ("link/x.txt", "leads out"),
        (".", "all of"),
        ("data/sources", "all of"),
    ):
        with pytest.raises(UserError, match=reason):
            forgotten(root, "post/elm.txt", word)
    with pytest.raises(UserError, match="all of"):
        forgotten(root, "post", "copy.txt", "many.jsonl", "link")
    (root / "data/sources/link").unlink()
    assert sorted((root / "data/sources").rglob("*")) == before


def test_a_blanked_line_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"line {i} é"}, ensure_ascii=False) for i in range(5)]
    for encoding, end in (
        ("utf-8", "\n"),
        ("utf-8-sig", "\r\n"),
        ("utf-16", "\n"),
        ("utf-32", "\n"),
        ("latin-1", "\n"),
    ):
        path = tmp_path / f"{encoding}.jsonl"
        path.write_bytes((end.join(lines)).encode(encoding))
        shared = tmp_path / "object"
        shared.unlink(missing_ok=True)
        shared.hardlink_to(path)
        before, whole = dict(numbered(path, tmp_path)), path.read_bytes()
        blank(path, {1, 5}, tmp_path)
        assert dict(numbered(path, tmp_path)) == {
            number: digest for number, digest in before.items() if number not in (1, 5)
        }
        assert shared.read_bytes() == whole, "the bytes that DVC's cache may share are not written to"
        blank(path, {1, 5}, tmp_path)
        assert [number for number, _ in numbered(path, tmp_path)] == [2, 3, 4]
        assert sorted(tmp_path.iterdir()) == sorted({*tmp_path.glob("*.jsonl"), shared})


def test_runs_are_of_thirteen_words() -> None:
    words = [f"word{i}" for i in range(20)]
    (runs,) = hash_word_runs([" ".join(words)])
    assert len(runs) == 8
    assert np.isin(hash_word_runs([" ".join(words[3:16]).upper() + "!"])[0], runs).all()
    assert not np.isin(hash_word_runs([" ".join(words[3:15])])[0], runs).any()
    assert len(hash_word_runs(["too short"])[0]) == 0


def test_names_are_runs_of_exactly_32_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    name, other = "0123456789abcdef" * 2, "f" * 32
    data = f"{name} {other}a, {other[:-1]} x{other}".encode()
    assert hex_names(data) == {name, other}
    assert hex_names(b"") == set()
    for size in range(40, 90):  # wherever a block ends
        monkeypatch.setattr("privllm.manage.verify_removal.BLOCK_BYTES", size)
        assert hex_names(data) >= {name, other}


def test_strings_within_columns() -> None:
    kind = pa.struct([("a", pa.list_(pa.string())), ("b", pa.struct([("c", pa.string())]))])
    nested = pa.array([{"a": ["x"], "b": {"c": "y"}}, None], kind)
    columns = [nested, pa.array(["z"]).dictionary_encode(), pa.array([1]), pa.array(["w"], pa.large_string())]
    found = [text for column in columns for strings in string_arrays(column) for text in strings.to_pylist() if text]
    assert sorted(found) == ["w", "x", "y", "z"]


def test_views_of_a_text() -> None:
    assert {"plain"} == views("plain")
    assert "a & b" in views("<p>a &amp; b</p>")
    assert any("café at home" in view for view in views(r'{"text": "caf\u00e9\nat home"}'.replace(r"\n", " ")))


def test_nouns_are_counted() -> None:
    assert [counted(1, "line"), counted(1234, "line"), counted(0, "copy", "copies")] == [
        "1 line",
        "1,234 lines",
        "0 copies",
    ]


def test_older_builds_and_how_to_purge_them_are_named(root: Path) -> None:
    for command in (
        ["init", "-q"],
        ["add", "dvc.yaml"],
        ["-c", "user.name=T", "-c", "user.email=t@localhost", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *command], cwd=root, check=True)
    (root / ".dvc/cache").mkdir(parents=True)
    (root / ".dvc/config").write_text("['remote \"far\"']\n    url = /mnt/far\n")
    said = forgotten(root, "post/birch.txt")
    for words in (
        "revisions",
        "dvc gc --workspace ",
        "dvc gc --workspace --cloud",
        "privllm push --prune",
        "git add params.yaml reports",
        "hashes of whole folders",
    ):
        assert words in said
    assert "--projects" not in said
    (root / ".dvc/config").write_text("[cache]\n    dir = /elsewhere/cache\n")
    assert "--projects OTHER" in forgotten(root, "post/elm.txt")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """The real repository, its pipeline cut off behind pack."""
    stages = ("fingerprint", "collect", "clean", "dedup", "start", "tokenizer", "pack")
    shop = make_workshop(tmp_path_factory.mktemp("forget") / "repo", stages)
    shop.repro()
    shop.commit("first")
    shop.run("git", "tag", "v1")
    return shop


def test_the_commands_on_a_real_build(shop: Workshop) -> None:
    """dvc repro included: the objects of old builds stay readable, the sources' .dvc file follows, and gc purges."""
    privllm = ("python", "-m", "privllm.cli")
    words = ("pages/heapq.html", "chapters.jsonl#3", "letter.txt")
    refused = shop.run(*privllm, "forget", *words, check=False)
    assert refused.returncode == 1
    assert "--yes" in refused.stderr
    tracked = (shop.root / "data/sources.dvc").read_text()
    done = shop.run(*privllm, "forget", "--yes", *words)
    assert "Running stage 'pack'" in done.stdout
    assert "No trace of them was found." in done.stdout
    assert "copy.txt (" in done.stdout, "the letter's copy still says it"
    assert "first (v1)" in done.stdout
    assert (shop.root / "data/sources.dvc").read_text() != tracked
    assert (shop.root / "data/sources/chapters.jsonl").read_bytes().count(b"\n") == 7
    assert shop.run("dvc", "status").stdout.startswith("Data and pipelines are up to date")
    said = shop.run(*privllm, "trace", words[0]).stdout
    assert "not in the build" in said
    assert "first (v1)" in said
    assert words[0] not in read_folder(shop.root / "data/collect", ["source"])["source"].to_pylist()
    shop.run("dvc", "gc", "--workspace", "--force")
    gone = shop.run(*privllm, "trace", words[0], check=False)
    assert gone.returncode == 1
    assert "0 of 1 revisions" in gone.stderr
