"""show: every fate is shown with the texts that the tables hold; what is shown obeys nobody."""

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from random import Random

import pyarrow as pa
import pytest
from rich.console import Console
from typer.testing import CliRunner

from privllm.clean.recipe import CleanConfig, clean
from privllm.cli.app import app
from privllm.cli.showing import LONGEST, lines_of
from privllm.collect.recipe import CollectConfig, collect
from privllm.core.errors import UserError
from privllm.core.records import ANNOTATIONS, document_id, shard_name
from privllm.core.split import SplitConfig
from privllm.core.tables import read_table, write_table
from privllm.dedup.recipe import DedupConfig, dedup
from privllm.manage.show import Entity, Shown, show
from privllm.manage.show_page import render_page
from privllm.manage.word_diff import Replaced, Segment
from tests.clean.test_recipe import GERMAN, PROSE
from tests.clean.test_sections import book
from tests.hostile import EVIL, obeyed
from tests.manage.test_trace import root as traced  # noqa: F401  (a build with packed documents)

MAIL = "From a@b.example Thu Nov 26 04:23:00 2026\nMessage-ID: <one@x>\nSubject: Rows\nFrom: A <a@b.example>\n\n{}\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("show")
    sources = root / "data/sources"
    sources.mkdir(parents=True)
    (sources / "page.html").write_text(f"<html><body><main><h1>Rows</h1><p>{PROSE} &amp; more</p></main></body></html>")
    (sources / "copy.txt").write_text(f"Rows {PROSE} & more, still more and yet more")
    (sources / "short.txt").write_text("Too short: carol@corp.example")
    (sources / "bad.txt").write_bytes(b"\x00\x01\x02\x03" * 50)
    (sources / "german.txt").write_text(GERMAN)
    (sources / "book.md").write_text(book(chapters=6, paragraphs=5))
    (sources / "inbox.mbox").write_text(MAIL.format(PROSE.replace("Databases", "Mails")))
    (root / "params.yaml").write_text("collect: {}\n")
    collect(CollectConfig(shard_bits=1), sources, root / "data/collect")
    clean(CleanConfig(profile="web", section_words=200), root / "data/collect", root / "data/clean")
    dedup(DedupConfig(threshold=0.5), SplitConfig(), root / "data/clean", root / "data/dedup")
    (sources / "new.txt").write_text("Not built: dave@corp.example")
    return root


def kinds(segments: list[Segment], kind: str) -> str:
    return "".join(segment.text for segment in segments if segment.kind == kind)


def in_words(shown: Shown, colour: bool = False) -> str:
    console = Console(record=True, file=io.StringIO(), width=10_000)
    for line in lines_of(shown, colour):
        console.print(line)
    return console.export_text()


def test_a_kept_page_is_shown_from_its_markup_to_its_clean_text(root: Path) -> None:
    shown = show(root, "page.html")
    assert shown.replaced == [Replaced("alice@corp.example", "<EMAIL>")]
    assert "<main>" in kinds(shown.cleaning, "gone")
    assert kinds(shown.cleaning, "new").split() == ["#", "<EMAIL>"]
    (row,) = [
        row
        for path in (root / "data/clean").glob("*.parquet")
        for row in read_table(path).to_pylist()
        if row["source"] == "page.html"
    ]
    assert "".join(part.text for part in shown.cleaning if part.kind != "gone") == row["text"]
    assert [stage for stage, _ in shown.steps()] == ["collect", "clean", "dedup"]


def test_a_dropped_document_is_shown_with_value_and_limit(root: Path) -> None:
    shown = show(root, "short.txt")
    assert dict(shown.steps())["clean"].startswith("dropped: too_short, 3 words, at least 20")
    assert shown.replaced == [Replaced("carol@corp.example", "<EMAIL>")]


def test_a_duplicate_is_shown_beside_its_survivor(root: Path) -> None:
    dropped = next(
        shown for name in ("copy.txt", "page.html") if (shown := show(root, name)).survivor or name == "page.html"
    )
    survivor = "page.html" if dropped.fate.source == "copy.txt" else "copy.txt"
    assert dropped.fate.why == f"near: {survivor} stays"
    assert kinds(dropped.survivor, "same")
    assert "the survivor's" in in_words(dropped)


def test_what_is_quarantined_names_the_reason(root: Path) -> None:
    shown = show(root, "bad.txt")
    assert dict(shown.steps())["collect"].startswith("quarantined: ")
    assert shown.cleaning == []


def test_before_a_build_the_text_is_what_would_be_read(root: Path) -> None:
    shown = show(root, "new.txt")
    assert (shown.fate.fate, shown.steps()) == ("not built yet", [])
    assert shown.cleaning == [Segment("same", "Not built: dave@corp.example")]
    assert "`dvc repro` builds it" in in_words(shown)


def test_parts_and_sections_are_shown(root: Path) -> None:
    shown = show(root, "inbox.mbox")
    assert shown.fate.source.startswith("inbox.mbox#")
    assert "Mails keep tables" in kinds(shown.cleaning, "same")
    with pytest.raises(UserError, match=r"book\.md is 6 sections: name one of them, such as book\.md#s:") as raised:
        show(root, "book.md")
    name = re.findall(r"book\.md#s:\w{16}", str(raised.value))[0]
    section = show(root, name)
    assert {part.kind for part in section.cleaning} == {"same"}
    assert show(root, document_id(name)).cleaning == section.cleaning


def test_a_folder_is_refused_with_names(root: Path) -> None:
    with pytest.raises(UserError, match=r"\. is \d+ documents: name one of them"):
        show(root, ".")
    with pytest.raises(UserError, match="in neither"):
        show(root, "nowhere.txt")


def test_names_are_those_of_the_annotations(root: Path) -> None:
    name = "german.txt"
    text = next(
        row["text"]
        for path in (root / "data/clean").glob("*.parquet")
        for row in read_table(path).to_pylist()
        if row["source"] == name
    )
    begin = text.index("Fuchs")
    row = {column: [] for column in ANNOTATIONS.names} | {
        "id": document_id(name),
        "entity_start": [begin],
        "entity_end": [begin + 5],
        "entity_label": ["ANIMAL"],
    }
    from privllm.manage.show import _entities

    for index in range(2):
        write_table(pa.Table.from_pylist([row], ANNOTATIONS), root / "data/annotate" / shard_name(index))
    assert _entities(root, document_id(name), text) == [Entity("ANIMAL", "Fuchs")]


def test_tokens_are_those_of_the_packed_rows(traced: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Those of `pack` count up from 10 in every document, over all rows that it lies in."""

    names = {number: f"<{number}>".encode() for number in range(10, 30)}
    monkeypatch.setattr("privllm.tokens.token_bytes.token_bytes", lambda tokenizer_json: names)
    (traced / "data/tokenizer").mkdir(exist_ok=True)
    (traced / "data/tokenizer/tokenizer.json").write_text("{}")
    (traced / "params.yaml").write_text("collect: {}\n")
    shown = show(traced, "a.txt")
    assert shown.tokens == [f"<{number}>" for number in range(10, 30)]
    assert "train, 20 tokens, 3 times, rows " in dict(shown.steps())["pack"]


def test_nothing_that_is_shown_is_obeyed(root: Path, tmp_path: Path) -> None:
    shown = show(root, "page.html")
    shown.fate.source = EVIL
    shown.cleaning = [Segment("gone", EVIL), Segment("new", "<script>alert(1)</script>")]
    shown.replaced, shown.entities, shown.tokens = [Replaced(EVIL, EVIL)], [Entity(EVIL, EVIL)], [EVIL]
    for colour in (True, False):
        assert obeyed(in_words(shown, colour)) == []
    render_page(shown, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert obeyed(page) == []
    assert "<script" not in page


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_is_whole_and_loads_nothing(root: Path, tmp_path: Path) -> None:
    shown = show(root, "short.txt")
    render_page(shown, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    seen = Seen()
    seen.feed(page)
    assert {"del", "ins"} <= set(seen.tags)
    assert seen.links == []
    assert "prefers-color-scheme: dark" in page
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert "carol@corp.example" in page


def test_a_long_stretch_is_shortened_in_a_terminal_alone(root: Path, tmp_path: Path) -> None:
    shown = show(root, "page.html")
    shown.cleaning = [Segment("same", "begin " + "x" * 2 * LONGEST + " end")]
    said = in_words(shown)
    assert "begin x" in said
    assert "x end" in said
    assert "[... 810 characters ...]" in said
    render_page(shown, tmp_path / "page.html")
    assert "x" * 2 * LONGEST in (tmp_path / "page.html").read_text("utf-8")


def test_the_command_writes_to_the_terminal_or_a_page(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    (root / "dvc.yaml").write_text(json.dumps({"stages": {}}))
    said = CliRunner().invoke(app, ["show", "short.txt"])
    assert said.exit_code == 0, said.output
    assert "[-carol@corp.example-]{+<EMAIL>+}" in said.output
    said = CliRunner().invoke(app, ["show", "short.txt", "--html", "short.html"])
    assert "short.html shows short.txt, with the personal data" in said.output
    assert (root / "short.html").is_file()


def test_lines_that_its_site_repeats_are_named(tmp_path: Path) -> None:
    notice = "This page belongs to the handbook of the house on the hill, and may not leave it."
    sources = tmp_path / "data/sources/site"
    sources.mkdir(parents=True)
    words = [word.strip(".,") for word in PROSE.split()]
    for number in range(12):
        chosen = Random(number)
        paragraphs = "".join(f"<p>{' '.join(chosen.choices(words, k=60))}.</p>" for _ in range(3))
        page = f"<html><body><main><h1>Page {number}</h1>{paragraphs}<p>{notice}</p></main></body></html>"
        (sources / f"{number}.html").write_text(page)
    collect(CollectConfig(shard_bits=1), sources.parent, tmp_path / "data/collect")
    clean(CleanConfig(), tmp_path / "data/collect", tmp_path / "data/clean")
    dedup(DedupConfig(), SplitConfig(), tmp_path / "data/clean", tmp_path / "data/dedup")
    shown = show(tmp_path, "site/3.html")
    assert shown.repeated == [notice]
    assert dict(shown.steps())["dedup"].startswith(f"kept without lines that its site repeats ({notice})")
