"""Examples made by patterns: what is found, what is hidden, what is left out, and that growth moves nothing."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from privllm.core.errors import UserError
from privllm.core.records import ANNOTATIONS, DEDUPED, document_id
from privllm.core.split import SplitConfig, split_of
from privllm.core.tables import by_id, read_table, write_table
from privllm.engine.store import Store
from privllm.tasks.config import DeriveConfig, TasksConfig, groups_of
from privllm.tasks.patterns import _fill, _passages, _windows
from privllm.tasks.read_dataset import read_examples
from privllm.tasks.recipe import _select, derive, examples_of

NOTHING = Path("nowhere")  # annotations, for tasks that have no use for them
SPLIT = SplitConfig(validation=0.2, test=0.2)
SENTENCES = r"(?P<signature>\w+\([^()\n]*\))\n(?P<sentence>[A-Z][^.]*\.)"
DOC = DeriveConfig("text2text", text=SENTENCES, templates={"input": ["{signature}"], "output": ["{sentence}"]})
CATEGORY = DeriveConfig(
    "classification",
    source=r"(?P<part>\w+)/",
    window=40,
    templates={"text": ["{passage}"], "label": ["{part}"]},
    hide="part",
)


def corpus(folder: Path, texts: dict[str, str]) -> Path:
    """`texts` by source as two shards of DEDUPED, every document a cluster of its own."""
    rows = [
        dict.fromkeys(DEDUPED.names, "")
        | {"id": name, "cluster": name, "split": split_of(SPLIT, name), "source": source, "text": text}
        for source, text in texts.items()
        for name in [document_id(source)]
    ]
    rows = [row | {"language_score": 0.0, "placeholders": 0} for row in rows]
    for shard in range(2):
        part = [row for row in rows if int(row["id"][0], 16) // 8 == shard]
        write_table(by_id(pa.Table.from_pylist(part, DEDUPED)), folder / f"{shard:05d}.parquet")
    return folder


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_pattern_finds_its_places() -> None:
    text = "intro\nread(n)\nRead n\nbytes. More.\nclose()\nno capital.\nwrite(b)\nWrite b."
    assert examples_of(DOC, "d", "any", text) == [
        (1, {"input": "read(n)", "output": "Read n bytes."}),
        (6, {"input": "write(b)", "output": "Write b."}),
    ]


def test_the_labels_own_words_are_taken_out_of_the_text() -> None:
    (_, example), *_ = examples_of(CATEGORY, "d", "email/x.txt", "An eMail of xemail_y.header emails")
    assert example == {"text": "An of .header", "label": "email"}
    assert examples_of(CATEGORY, "d", "email.txt", "its path does not match") == []
    of_section = examples_of(CATEGORY, "d", f"email/x.txt#s:{1:016x}", "An eMail of xemail_y.header emails")
    assert [found for _, found in of_section] == [example], "a section is judged by its document's path"


def test_chat_takes_one_of_its_questions_by_hash() -> None:
    chat = DeriveConfig(
        "chat",
        text=SENTENCES,
        templates={"user": ["What is {signature}?", "Explain {signature}."], "assistant": ["{sentence}"]},
    )
    found = [
        e["messages"][0]["content"]
        for _, e in examples_of(chat, "d", "s", "".join(f"f{i}()\nDo {i}.\n" for i in range(20)))
    ]
    assert {question.split()[0] for question in found} == {"What", "Explain"}


def test_examples_are_in_their_documents_split_and_reread(tmp_path: Path) -> None:
    texts = {f"a/{i}.txt": f"f{i}(x)\nReturn {i}.\ninit()\nInitialize.\n" for i in range(30)}
    source = corpus(tmp_path / "dedup", texts)
    report = derive(TasksConfig({"doc": DOC}), source, NOTHING, tmp_path / "out")["derived"]["doc"]
    found = lines(tmp_path / "out/doc.jsonl")
    assert all(line["split"] == split_of(SPLIT, line["group"]) for line in found)
    # What stands in documents of two splits is in none.
    assert {line["input"] for line in found} == {f"f{i}(x)" for i in range(30)}
    assert (report["examples"], report["across_splits"], report["documents"], report["matched"]) == (30, 30, 30, 30)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["doc.jsonl"]
    assert read_examples(tmp_path / "out/doc.jsonl", "text2text").counts["examples"] == 30


def test_an_answer_across_splits_leaks_as_an_input_does(tmp_path: Path) -> None:
    source = corpus(tmp_path / "dedup", {f"a/{i}.txt": f"f{i}(x)\nReturn it.\n" for i in range(30)})
    report = derive(TasksConfig({"doc": DOC}), source, NOTHING, tmp_path / "out")["derived"]["doc"]
    assert (report["examples"], report["across_splits"]) == (0, 30)


def test_growth_moves_nothing(tmp_path: Path) -> None:
    texts = {f"a/{i}.txt": f"f{i}(x)\nReturn {i}.\n" for i in range(20)}
    derive(TasksConfig({"doc": DOC}), corpus(tmp_path / "one", texts), NOTHING, tmp_path / "before")
    derive(
        TasksConfig({"doc": DOC}),
        corpus(tmp_path / "two", texts | {"b.txt": "new()\nNew.\n"}),
        NOTHING,
        tmp_path / "after",
    )
    before, after = (lines(tmp_path / name / "doc.jsonl") for name in ("before", "after"))
    assert [line for line in after if line["input"] != "new()"] == before


def test_rare_labels_and_what_is_too_much_are_left_out_and_counted(tmp_path: Path) -> None:
    texts = {
        f"{name}/{i}.txt": f"{name} {i} with {len(name)} letters"
        for name, n in (("many", 30), ("few", 3))
        for i in range(n)
    }
    source = corpus(tmp_path / "dedup", texts)
    cfg = DeriveConfig(**{**vars(CATEGORY), "min_examples": 5})
    report = derive(TasksConfig({"category": cfg}), source, NOTHING, tmp_path / "out")["derived"]["category"]
    assert (report["by_label"], report["rare"], report["rare_labels"]) == ({"many": report["examples"]}, 3, 1)
    cfg.max_examples = 10
    report = derive(TasksConfig({"category": cfg}), source, NOTHING, tmp_path / "out")["derived"]["category"]
    assert report["over_limit"] == 23
    cfg = DeriveConfig(**{**vars(DOC), "per_document": 2})
    assert len(examples_of(cfg, "d", "s", "".join(f"f{i}()\nDo {i}.\n" for i in range(9)))) == 2


def annotated(folder: Path, source: Path, tags: str) -> Path:
    """Every word a token, tags going round, every document one sentence; a sixteenth of the documents are not annotated."""
    for shard in sorted(source.glob("*.parquet")):
        rows = []
        for row in read_table(shard).to_pylist():
            words = row["text"].split()
            starts = [row["text"].index(word) for word in words]
            pos = [tags.split()[i % len(tags.split())] for i in range(len(words))]
            known = {
                "id": row["id"],
                "token_start": starts,
                "token_end": [s + len(w) for s, w in zip(starts, words, strict=True)],
            }
            rows += [{key: [] for key in ANNOTATIONS.names} | known | {"pos": pos, "head": [0] * len(words)}]
        rows = [row for row in rows if not row["id"].endswith("0")]
        write_table(pa.Table.from_pylist(rows, ANNOTATIONS), folder / shard.name)
    return folder


def test_annotated_sentences_become_examples(tmp_path: Path) -> None:
    source = corpus(
        tmp_path / "dedup", {f"a/{i}.txt": f"the list{i} is new{i} ." for i in range(60)} | {"b.txt": "too few"}
    )
    annotations = annotated(tmp_path / "annotate", source, "DET NOUN AUX ADJ PUNCT")
    cfg = DeriveConfig("tokens", source="a/", hidden=0.5, min_words=4, templates={})
    report = derive(TasksConfig({"gaps": cfg}), source, annotations, tmp_path / "out")["derived"]["gaps"]
    found = lines(tmp_path / "out/gaps.jsonl")
    assert all(line["split"] == split_of(SPLIT, line["group"]) and line["tokens"].count(None) == 2 for line in found)
    assert 40 < report["examples"] + report["across_splits"] + report["repeated"] == report["matched"] < 60
    assert set(report["by_label"]) == {"ADJ", "AUX", "DET", "NOUN"}
    assert read_examples(tmp_path / "out/gaps.jsonl", "tokens").counts["examples"] == len(found) == report["examples"]
    rare = derive(
        TasksConfig({"gaps": DeriveConfig(**{**vars(cfg), "min_examples": 1000})}),
        source,
        annotations,
        tmp_path / "out",
    )
    assert (rare["derived"]["gaps"]["examples"], rare["derived"]["gaps"]["rare"]) == (0, report["examples"])


def test_annotations_reach_only_what_is_made_of_them(tmp_path: Path) -> None:
    """A pattern's shards are no function of annotations, or all tasks would be made anew with them."""
    source = corpus(tmp_path / "dedup", {"a/1.txt": "f(x)\nReturn it.\n"})
    cfg = TasksConfig({"doc": DOC, "gaps": DeriveConfig("tokens", templates={})})
    jobs = {}

    class Watched(Store):
        def map(
            self, function: Callable[..., Any], given: Sequence[Any], out: Path, label: str, **options: Any
        ) -> list:
            jobs[label] = [path.parent.name for job in given for path in job if isinstance(path, Path)]
            return super().map(function, given, out, label, **options)

    derive(cfg, source, annotated(tmp_path / "annotate", source, "NOUN"), tmp_path / "out", Watched())
    assert jobs == {"tasks: doc": ["dedup"] * 2, "tasks: gaps": ["dedup", "annotate"] * 2}


def test_a_corpus_in_which_nothing_is_found_gives_one_empty_line(tmp_path: Path) -> None:
    source = corpus(tmp_path / "dedup", {"a.txt": "prose only"})
    assert derive(TasksConfig({"doc": DOC}), source, NOTHING, tmp_path / "out")["derived"]["doc"]["examples"] == 0
    assert (tmp_path / "out/doc.jsonl").read_bytes() == b"\n"  # of an empty file DVC warns at every stage that needs it


def test_no_pattern_takes_long_whatever_the_text() -> None:
    """The classical trap of backtracking: RE2 is linear in it."""
    cfg = DeriveConfig(
        "text2text", text=r"(?P<a>(?:x+x+)+)y(?P<b>.)", window=10_000, templates={"input": ["{a}"], "output": ["{b}"]}
    )
    start = time.perf_counter()
    assert examples_of(cfg, "d", "s", "x" * 10_000) == []
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"text": "(?P<a>"}, "tasks.derive.doc.text"),
        ({"text": "(a)"}, "named groups"),
        ({"text": r"(?P<a>x)(?=y)"}, "no RE2 pattern"),
        ({"templates": {"input": ["{signature}"]}}, "input and output"),
        ({"templates": {"input": ["{nothing}"], "output": ["x"]}}, "sentence, signature"),
        ({"kind": "tags"}, "classification, tokens, text2text, chat"),
        ({"kind": "tokens"}, "templates"),
        ({"kind": "tokens", "templates": {}}, "text and hide empty"),
        ({"hidden": 0.2}, "hidden: 0"),
        ({"kind": "tokens", "templates": {}, "text": "", "hidden": 2}, "between 0 and 1"),
        ({"window": 5}, "between 20 and 10000"),
        ({"max_examples": 0}, "max_examples"),
    ],
)
def test_wrong_parameters_are_explained(change: dict, part: str) -> None:
    with pytest.raises(UserError, match=part):
        TasksConfig({"doc": DeriveConfig(**{**vars(DOC), **change})})
    with pytest.raises(UserError, match="small letters"):
        TasksConfig({"../doc": DOC})


def test_groups_of_a_pattern() -> None:
    assert groups_of(SENTENCES, "x") == {"signature", "sentence"}
    assert groups_of("", "x") == set()


@pytest.mark.parametrize(
    ("knob", "good", "bad"),
    [
        ("window", (20, 10_000), (19, 10_001)),
        ("per_document", (1, 1_000_000), (0, 1_000_001)),
        ("max_examples", (1, 10_000_000), (0, 10_000_001)),
        ("min_words", (0, 9), (-1,)),
        ("min_examples", (0, 9), (-1,)),
    ],
)
def test_knobs_have_ends(knob: str, good: tuple[int, ...], bad: tuple[int, ...]) -> None:
    for value in good:
        assert TasksConfig({"doc": DeriveConfig(**{**vars(DOC), knob: value})})
    for value in bad:
        with pytest.raises(UserError, match=rf"tasks\.derive\.doc\.{knob}"):
            TasksConfig({"doc": DeriveConfig(**{**vars(DOC), knob: value})})


@pytest.mark.parametrize("hidden", [0.0, 1.0])
def test_all_words_may_be_hidden_or_none(hidden: float) -> None:
    assert TasksConfig({"gaps": DeriveConfig("tokens", hidden=hidden, templates={})})
    for wrong in (-0.001, 1.001):
        with pytest.raises(UserError, match=r"gaps\.hidden"):
            TasksConfig({"gaps": DeriveConfig("tokens", hidden=wrong, templates={})})


@pytest.mark.parametrize("name", ["a", "a_1", "z9"])
def test_names_of_tasks(name: str) -> None:
    assert TasksConfig({name: DOC})
    for wrong in (name.upper(), f"1{name}", f"{name}-x", f"{name}/x", ""):
        with pytest.raises(UserError, match="small letters"):
            TasksConfig({wrong: DOC})


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"hide": "nothing"}, "made of groups"),
        ({"kind": "tokens", "templates": {}, "text": "", "hide": "x"}, "text and hide empty"),
        ({"templates": {"input": [], "output": ["x"]}}, "input and output"),
        ({"templates": {"input": ["x"], "output": ["x"], "label": ["x"]}}, "input and output"),
        ({"source": "(?P<x>"}, r"doc\.source"),
        ({"text": ""}, "made of groups that its patterns name: passage"),
    ],
)
def test_more_wrong_parameters(change: dict, part: str) -> None:
    with pytest.raises(UserError, match=part):
        TasksConfig({"doc": DeriveConfig(**{**vars(DOC), **change})})


@pytest.mark.parametrize(
    ("text", "size", "pieces"),
    [
        ("", 20, []),
        (" \n", 20, []),
        ("abc defg", 8, ["abc defg"]),
        ("abc defg", 7, ["abc", "defg"]),
        ("abcdefgh ij", 5, ["abcde", "ij"]),
        ("a  b\n\nc", 3, ["a b", "c"]),
    ],
)
def test_passages_are_cut_at_white_space(text: str, size: int, pieces: list[str]) -> None:
    assert _passages(text, size) == pieces


def test_windows_begin_at_lines() -> None:
    assert _windows("ab\n\ncdef", 3) == ["ab\n", "\ncd", "cde"]
    assert _windows("", 3) == [""]


@pytest.mark.parametrize(("words", "found"), [(0, 1), (2, 1), (3, 0)])
def test_an_example_has_as_many_words_as_were_asked_for(words: int, found: int) -> None:
    cfg = DeriveConfig(**{**vars(DOC), "min_words": words})
    assert len(examples_of(cfg, "d", "s", "read(n, m)\nRead n.\n")) == found


@pytest.mark.parametrize("limit", [4, 9, 10, 11])
def test_at_most_as_many_examples_as_were_asked_for(tmp_path: Path, limit: int) -> None:
    source = corpus(tmp_path / "dedup", {f"a/{i}.txt": f"f{i}(x)\nReturn {i}.\n" for i in range(10)})
    cfg = DeriveConfig(**{**vars(DOC), "max_examples": limit})
    report = derive(TasksConfig({"doc": cfg}), source, NOTHING, tmp_path / "out")["derived"]["doc"]
    assert (report["examples"], report["over_limit"]) == (min(limit, 10), max(0, 10 - limit))


@pytest.mark.parametrize(("least", "labels"), [(0, {"few", "many"}), (2, {"few", "many"}), (3, {"many"}), (99, set())])
def test_a_label_needs_as_many_training_examples_as_were_asked_for(least: int, labels: set[str]) -> None:
    lines = [
        {"id": f"{i:02}-0", "group": f"{i:02}", "split": split, "text": f"t{i}", "label": label}
        for i, (split, label) in enumerate([("train", "few")] * 2 + [("test", "few")] * 5 + [("train", "many")] * 3)
    ]
    kept, counts = _select(DeriveConfig("classification", min_examples=least), lines)
    assert {line["label"] for line in kept} == labels
    assert counts["rare"] + len(kept) == 10
    assert counts["rare_labels"] == 2 - len(labels)
    assert sum(counts["by_split"].values()) == sum(counts["by_label"].values()) == len(kept)


def test_equal_inputs_stay_once_and_equal_answers_may_repeat_within_a_split() -> None:
    lines = [
        {"id": f"{i}-0", "group": str(i), "split": split, "input": given, "output": answer}
        for i, (split, given, answer) in enumerate(
            [
                ("train", "a", "x"),
                ("train", "a", "y"),
                ("train", "b", "x"),
                ("test", "c", "z"),
                ("train", "d", "z"),
                ("test", "b", "w"),
            ]
        )
    ]
    kept, counts = _select(DeriveConfig("text2text"), lines)
    assert [line["id"] for line in kept] == ["0-0"]
    assert (counts["repeated"], counts["across_splits"], counts["examples"]) == (1, 4, 1)
    assert "by_label" not in counts


def test_what_is_hidden_is_hidden_in_all_but_the_label() -> None:
    groups = {"passage": "An e-mail  client; MAILS", "part": "e_mail"}
    assert _fill(CATEGORY, groups, 0) == {"text": "An - ;", "label": "e_mail"}  # "client" has an e
    assert _fill(CATEGORY, groups | {"part": "_"}, 0) == {"text": "An e-mail client; MAILS", "label": "_"}
    assert _fill(CATEGORY, groups | {"passage": "mail e"}, 0) is None


def test_the_defaults_of_a_task() -> None:
    assert vars(DeriveConfig()) == {
        **{
            "kind": "text2text",
            "source": "",
            "text": "",
            "window": 500,
            "templates": {},
            "hide": "",
            "hidden": 0.0,
            "min_words": 1,
        },
        **{"per_document": 40, "max_examples": 20_000, "min_examples": 0},
    }


def test_without_tasks_the_folder_is_not_empty(tmp_path: Path) -> None:
    """Of an empty output DVC warns, and a new project has no tasks."""
    source = corpus(tmp_path / "source", {"a.html": "text"})
    assert derive(TasksConfig(), source, NOTHING, tmp_path / "out") == {"derived": {}}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["none.json"]
