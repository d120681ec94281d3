import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from privllm.core.errors import UserError
from privllm.report.page import OWN, ReportInputs, flatten, render_report, show_number
from tests.hostile import EVIL, obeyed

SPOT = {"kind": "source", "slice": "<i>", "documents": 12, "tokens": 900, "unit": "bits per byte"}
SPOT |= {"excess": 0.25, "interval": [0.125, 0.375], "ratio": 1.5}
VOID = {"meta", "br", "link", "img", "input", "hr"}
REPEATED = {"repeated": {"documents": 2, "copies": 3, "tokens": 1234}, "context": 16}
REPORTS = {
    "collect": {"documents": 9, "quarantined": {"empty": 1}, "by_media_type": {"text/html": 9}, "scanned_pages": 3},
    "clean": {
        "documents_in": 9,
        "kept": 7,
        "dropped": {"too_short": 2},
        "flagged": {"bullet_lines": 3},
        "placeholders": {"EMAIL": 4},
        "by_language": {"de": 0.7059, "en": 0.2941},
    },
    "dedup": {"documents_in": 7, "kept": 6, "dropped": {"exact": 1, "near": 0}},
    "validate": {
        "documents": 6,
        "expectations": 9,
        "failed_critical": 0,
        "warnings": 1,
        "warnings_of": ["mean <length>"],
        "drift": {"a_b": 0.5},
    },
    "pack": {"documents": {"train": 4, "validation": 1, "test": 1}, "tokens": {"train": 1500}, "rows": {}, "bytes": {}}
    | REPEATED,
    "pretrain": {"parameters": 5_800_000, "steps": 10, "tokens": 1000},
    "evaluate": {
        "perplexity": 12.5,
        "tokens": 900,
        "documents": 2,
        "bits_per_byte": 1.75,
        "bits_per_byte_clean": 1.5,
        "clean_documents": 1,
        "left_out": 0,
        "test": {
            "tokens": 1234,
            "documents": 12,
            "left_out": 7,
            "bits_per_byte": 1.85,
            "interval": [1.8, 1.9],
            "bits_per_byte_clean": 1.95,
            "clean_documents": 9,
        },
        "by_pos": {"NOUN": {"tokens": 500, "accuracy": 0.5}, "VERB": {"tokens": 400, "accuracy": 0.25}},
        "by_source": {"<i>": {"tokens": 900, "bits_per_byte": 1.85}},
        "weak_spots": [SPOT, SPOT | {"kind": "pos", "slice": "VERB", "unit": "nats per token"}],
        "slices_compared": 31,
        "baselines": {"training_bytes": 9_900_000, "bits_per_byte": {"gzip -9": 1.559, "xz -9e": 1.317}},
    },
    "export": {"digests": {"data": "ab" * 16}},
    "start": {
        "causal": {"start": "data/base/house", "added": ["<|user|>"], "bytes": 9},
        "masked": {"start": "scratch"},
    },
    "feedback": {"lines": 12, "kept": 11, "raters": 2, "sft": 3, "quarantined": {"no_text": 1}},
    "align": {
        "aligned": True,
        "sft": {"lessons": 3},
        "correction_loss": {"before": 4.5, "after": 2.25, "difference": -2.25, "low": -3.0, "high": -1.5, "judged": 15},
        "text_loss": {"before": 3.0, "after": 3.125, "difference": 0.125},
    },
    "gate": {
        "incumbent": "house@v1.0.0",
        "passed": False,
        "not_measured": ["preferences"],
        "figures": {
            "causal.bits_per_byte_clean": {
                **{"incumbent": 1.5, "candidate": 1.75, "difference": 0.25, "units": 40, "low": 0.125, "high": 0.375},
                "verdict": "broken: max_increase 0.02",
            }
        },
    },
}


class Outline(HTMLParser):
    """Headings, ids and link targets, and whether tags nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[int] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list) -> None:
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found[key] for key in ("href", "src") if key in found]
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def inputs_of(folder: Path, reports: dict) -> ReportInputs:
    for stage, report in reports.items():
        path = folder / stage / "causal.json" if stage in OWN else folder / f"{stage}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(report))
    (folder / "pretrain").mkdir(exist_ok=True)
    (folder / "pretrain/masked.json").write_text(
        json.dumps({"parameters": 7, "steps": 10, "tokens": 1000, "labels": 300})
    )
    for family, sample in (("causal", {}), ("masked", {"truth": "was there"})):
        path = folder / "texts" / family / "samples.json"
        path.parent.mkdir(parents=True)
        samples = [{"prompt": "Once", "text": " <script>alert(1)</script>", **sample}]
        path.write_text(json.dumps({"decoding": {"seed": 1}, "samples": samples}))
        for name in ("train", "validation"):
            curve = folder / "pretrain" / family / "plots" / "metrics" / name / "loss.tsv"
            curve.parent.mkdir(parents=True)
            curve.write_text("step\tloss\n5\t4.5\n10\t4.0\n")
    print_file = folder / "print.json"
    print_file.write_text(json.dumps({"modules": {"a": "0"}, "libraries": {}}))
    params = {"pretrain": {"causal": {"model": {"width": 256}, "seed": 0}}}
    return ReportInputs(
        folder,
        ("causal", "masked"),
        evaluation=folder / "texts",
        fingerprints=(print_file,),
        params=params,
        descriptions={"causal": "Reads from left to right."},
    )


@pytest.fixture
def page(tmp_path: Path) -> str:
    render_report(inputs_of(tmp_path, REPORTS), tmp_path / "index.html")
    return (tmp_path / "index.html").read_text("utf-8")


def test_one_page_that_needs_nothing(page: str) -> None:
    outline = Outline(page)
    assert len(outline.ids) == len(set(outline.ids))
    local = [link[1:] for link in outline.links if link.startswith("#")]
    assert set(local) <= set(outline.ids)
    assert [link for link in outline.links if not link.startswith("#")] == ["validate/index.html"]
    assert "<script" not in page
    assert "default-src 'none'" in page


def test_headings_make_an_outline(page: str) -> None:
    headings = Outline(page).headings
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(headings))


def test_text_from_documents_is_escaped(page: str) -> None:
    assert "&lt;script&gt;alert(1)" in page
    assert "mean &lt;length&gt;" in page
    assert "<i>" not in page


def test_hostile_names_and_texts_are_shown(tmp_path: Path) -> None:
    evaluated = {"by_source": {EVIL: {"tokens": 900, "bits_per_byte": 1.5}, "b": {"tokens": 900, "bits_per_byte": 1.5}}}
    found = REPORTS | {"evaluate": REPORTS["evaluate"] | evaluated | {"weak_spots": [SPOT | {"slice": EVIL}]}}
    found |= {
        "validate": REPORTS["validate"] | {"warnings_of": [EVIL]},
        "clean": REPORTS["clean"] | {"dropped": {EVIL: 2}},
    }
    inputs = inputs_of(tmp_path, found)
    sample = tmp_path / "texts/causal/samples.json"
    sample.write_text(json.dumps({"samples": [{"prompt": EVIL, "text": "two\n\tlines می\u200cخواهم" + EVIL}]}))
    render_report(inputs, tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text("utf-8")
    Outline(page)
    assert not obeyed(page)
    assert page.count(r"evil\x1b[2J\x07") >= 6
    assert "two\n\tlines می\u200cخواهم" in page


def test_says_the_numbers(page: str) -> None:
    for words in (
        "10 found = 6 distinct + 4 dropped",
        "Passed",
        "12.50",
        '<th scope="row">de</th><td>70.6%</td>',
        "1.5 k",
        "Figures of the <b>test split</b>: 12 documents (1,234 tokens)",
        "7 documents were left out",
        "all text</th><td>1.85</td><td>1.800–1.900</td><td>test</td><td>12</td><td>7</td>",
        "not copied from training</th><td>1.95</td><td>too few</td><td>test</td><td>9</td><td>7</td>",
        "all text</th><td>1.75</td><td>too few</td><td>validation</td><td>2</td><td>0</td>",
        "pretrain.causal.model.width",
        "Was: was there",
        "Reads from left to right",
        "ab" * 16,
    ):
        assert words in page, words


def test_this_build_stands_beside_the_incumbent(page: str, tmp_path: Path) -> None:
    for words in (
        '<span class="verdict bad">Failed</span>: this build against <b>house@v1.0.0</b>',
        "Nothing was measured for the rules preferences.",
        '<td>1.5</td><td>1.75</td><td>0.25 [0.125, 0.375]</td><td>40</td><td class="bad">broken: max_increase 0.02</td>',
        "<td>data/base/house</td><td>&lt;|user|&gt;</td>",
        '<th scope="row">left out: no text</th><td>1</td>',
        "Alignment of causal (imitation)",
        "<td>4.5</td><td>2.25</td><td>-2.25 [-3, -1.5]</td><td>15</td>",
        "<td>3</td><td>3.125</td><td>0.125</td><td>–</td>",
    ):
        assert words in page, words
    first = REPORTS | {"gate": {"incumbent": "", "passed": True, "figures": {}}, "feedback": {"lines": 0}}
    folder = tmp_path / "first"
    folder.mkdir()
    first |= {"start": {"causal": {"start": "scratch"}}, "align": {"aligned": False, "passed_through": "no reason"}}
    render_report(inputs_of(folder, first), tmp_path / "first.html")
    page = (tmp_path / "first.html").read_text("utf-8")
    assert "No model has been promoted yet" in page
    assert "Nobody has rated or corrected a reply yet" in page
    assert "Begins with" not in page


def test_what_is_kept_and_flagged_is_counted(page: str) -> None:
    assert "flagged.txt" in page
    assert re.search(r"bullet_lines</th><td>3<", page)


def test_scanned_pages_that_were_not_read_are_counted(page: str) -> None:
    assert "Not read: 3 scanned pages of files that have text on others" in page


def test_weak_spots_are_a_table_or_a_sentence(page: str, tmp_path: Path) -> None:
    assert "worst first, of 31 compared" in page
    assert re.search(
        r"source <b>&lt;i&gt;</b></th><td>12</td><td>900</td><td>0.25 \[0.12, 0.38\]</td><td>bits per byte</td><td>1.50",
        page,
    )
    assert "part of speech <b>VERB</b>" in page
    assert "2 training documents are repeated" in page
    assert "3 further copies hold 1,234 tokens" in page
    for compared, words in ((31, "None: none of 31 slices"), (0, "Too few documents were scored")):
        folder = tmp_path / str(compared)
        folder.mkdir()
        found = {key: value for key, value in REPORTS["evaluate"].items() if key != "weak_spots"} | {
            "slices_compared": compared
        }
        render_report(inputs_of(folder, REPORTS | {"evaluate": found}), folder / "index.html")
        assert words in (folder / "index.html").read_text("utf-8")


def test_baselines_stand_beside_every_model(page: str, tmp_path: Path) -> None:
    assert re.search(r'<th scope="row">xz -9e</th><td>1.317</td><td>–</td>', page)
    assert "that learnt from 9.9 MB of training text" in page
    assert "causal needs 1.850 bits per byte, more than xz -9e" in page
    better = tmp_path / "better"
    better.mkdir()
    test = REPORTS["evaluate"]["test"] | {"bits_per_byte": 1.2}
    evaluation = REPORTS["evaluate"] | {"test": test}
    render_report(inputs_of(better, REPORTS | {"evaluate": evaluation}), better / "index.html")
    assert "more than xz -9e for" not in (better / "index.html").read_text("utf-8")


def test_scores_of_continuations_have_intervals_or_are_too_few(page: str, tmp_path: Path) -> None:
    assert "BLEU and chrF are of" not in page
    measured = {"continuations": 16, "bleu_interval": [0.01, 0.05], "chrf_interval": [0.2, 0.3]}
    for more, words in (
        ({}, "of 16 continuations: BLEU lies between 0.01 and 0.05, chrF between 0.2 and 0.3"),
        ({"bleu_interval": None, "chrf_interval": None}, "of 16 continuations, too few for an interval"),
    ):
        folder = tmp_path / str(len(more))
        folder.mkdir()
        evaluation = REPORTS["evaluate"] | measured | more
        render_report(inputs_of(folder, REPORTS | {"evaluate": evaluation}), folder / "index.html")
        assert words in (folder / "index.html").read_text("utf-8")


def test_same_bytes_twice(page: str, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    render_report(inputs_of(again, REPORTS), again / "index.html")
    assert (again / "index.html").read_text("utf-8") == page


def test_disagreeing_stages_are_shown(tmp_path: Path) -> None:
    changed = REPORTS | {"dedup": REPORTS["dedup"] | {"kept": 3}}
    render_report(inputs_of(tmp_path, changed), tmp_path / "index.html")
    assert "The numbers do not add up" in (tmp_path / "index.html").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("stage", sorted(REPORTS))
def test_any_report_may_be_absent_or_bare(stage: str, tmp_path: Path) -> None:
    for name, reports in (
        ("absent", {key: value for key, value in REPORTS.items() if key != stage}),
        ("bare", REPORTS | {stage: {}}),
    ):
        folder = tmp_path / name
        folder.mkdir()
        render_report(inputs_of(folder, reports), folder / "index.html")
        Outline((folder / "index.html").read_text("utf-8"))


def test_nothing_at_all_is_said_to_be_absent(tmp_path: Path) -> None:
    render_report(ReportInputs(tmp_path), tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text("utf-8")
    assert all(
        f"<code>{stage}</code> has no report" in page
        for stage in ("collect", "clean", "validate", "pack", "pretrain", "evaluate")
    )


def test_the_page_before_stays_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "index.html").write_text("before")

    def full_disk(path: Path, text: str, encoding: str) -> int:
        path.write_bytes(text[:9].encode(encoding))
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(OSError, match="No space"):
        render_report(ReportInputs(tmp_path), tmp_path / "index.html")
    assert (tmp_path / "index.html").read_text() == "before"


def test_a_broken_report_is_named(tmp_path: Path) -> None:
    (tmp_path / "clean.json").write_text("{")
    with pytest.raises(UserError, match=r"clean\.json is not valid JSON"):
        render_report(ReportInputs(tmp_path), tmp_path / "index.html")


def test_numbers_are_shown_for_people() -> None:
    assert [show_number(value) for value in (True, None, 12345, 0.000123456, 1234.56, [1, 2.5], "x")] == [
        "yes", "none", "12,345", "0.0001235", "1,234.6", "1, 2.5", "x",
    ]  # fmt: skip
    assert flatten({"a": {"b": 1}, "c": [2]}) == [("a.b", 1), ("c", [2])]


def test_tuned_models_stand_beside_their_baselines(tmp_path: Path) -> None:
    baselines = {"judged_by": "span_f1", "scores": {EVIL: {"span_f1": 0.625}}, "beaten": False, "sentences": [EVIL]}
    report = {"main": "span_f1", "family": "masked", "examples": {"train": 9, "test": 3}, "test": {"span_f1": 0.5}}
    (tmp_path / "finetune").mkdir()
    (tmp_path / "finetune/names.json").write_text(json.dumps(report | {"baselines": baselines}))
    (tmp_path / "finetune/other.json").write_text(json.dumps(report))
    (tmp_path / "finetune/not_built.json").write_text(json.dumps({"skipped": "its family is not built"}))
    render_report(ReportInputs(tmp_path), tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text("utf-8")
    Outline(page)
    assert "Beside answers without a language model" in page
    assert "<td>the model</td><td>span f1</td><td>0.5" in page
    assert "0.625" in page
    assert not obeyed(page)
