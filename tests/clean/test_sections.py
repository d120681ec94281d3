"""Sections: nothing is lost, sizes are as wished, and an edit moves no section but its own."""

import random
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.clean import recipe
from privllm.clean.recipe import CleanConfig, clean, clean_sections, clean_shard
from privllm.clean.sections import _blocks, _counter_for, cut
from privllm.core.errors import UserError
from privllm.core.records import DOCUMENTS, SHARD_DIGITS, document_id, shard_name, whole_source
from privllm.core.seed import digest
from privllm.core.split import SPLITS, SplitConfig, split_of
from privllm.core.tables import read_folder, write_table
from privllm.engine.extensions import NO_EXTENSIONS
from privllm.engine.store import Before

WORDS = 200


def prose(seed: int, words: int) -> str:
    chooser = random.Random(seed)
    syllables = ["ba", "de", "ki", "lo", "mu", "na", "po", "ri", "sa", "tu"]
    made = ["".join(chooser.choices(syllables, k=chooser.randint(1, 4))) for _ in range(words)]
    return " ".join(made).capitalize() + "."


def book(chapters: int = 8, paragraphs: int = 12, headings: bool = True) -> str:
    blocks = []
    for chapter in range(chapters):
        if headings:
            blocks.append(f"# Chapter {chapter}")
        blocks += [prose(1000 * chapter + number, 40 + 7 * (number % 5)) for number in range(paragraphs)]
    return "\n\n".join(blocks)


def texts_of(text: str, words: int = WORDS) -> dict[str, str]:
    sections = cut("book.md", text, words)
    found = dict(sections)
    assert len(found) == len(sections), "two sections have one name"
    return found


@given(
    st.lists(
        st.sampled_from(["# A", "## B\n", "", "```", "one two three", "  four", "\t", "a" * 99, "一二三。四"]),
        max_size=80,
    )
)
def test_no_character_is_lost(lines: list[str]) -> None:
    text = "\n".join(lines)
    assert "".join(block.text for block in _blocks(text, 5, _counter_for(text))) == text
    sections = cut("book.md", text, 10)
    assert not sections or "".join("".join(part.text for part in sections).split()) == "".join(text.split())
    assert len({part.source for part in sections}) == len(sections)


@pytest.mark.parametrize("headings", [True, False])
def test_sections_have_about_the_words_that_were_asked_for(headings: bool) -> None:
    sizes = [len(text.split()) for text in texts_of(book(headings=headings)).values()]
    assert len(sizes) > 10
    assert min(sizes) >= 0.75 * WORDS
    assert max(sizes) <= 2 * WORDS
    assert 0.75 * WORDS < sum(sizes) / len(sizes) < 1.5 * WORDS


def test_cuts_prefer_headings() -> None:
    sections = list(texts_of(book(chapters=6, paragraphs=5)).values())
    assert len(sections) == 6
    assert all(text.startswith(f"# Chapter {number}\n") for number, text in enumerate(sections))


def test_what_is_short_or_not_wished_stays_whole() -> None:
    assert cut("a.txt", prose(1, 2 * WORDS), WORDS) == []
    assert cut("a.txt", book(), 0) == []
    assert cut("a.txt", prose(1, 2 * WORDS + 10), WORDS) != []


@pytest.mark.parametrize("joint", ["\n", " ", ". ", ""])
def test_one_paragraph_is_cut_too(joint: str) -> None:
    """At its lines, else its sentences, else anywhere."""
    text = joint.join(prose(number, 9).removesuffix(".") for number in range(300))
    if not joint:
        text = "".join(chr(0x4E00 + number % 5000) for number in range(5000))
    sizes = [len(part) for part in texts_of(text).values()]
    assert len(sizes) >= 4
    assert max(sizes) < len(text) / 2


def test_code_is_not_cut_at_its_comments() -> None:
    code = "\n\n".join(f"# step {number}\n{prose(number, 15)}" for number in range(12))
    text = f"{book(2, 8)}\n\n```sh\n{code}\n```\n\n{book(2, 8, headings=False)}"
    assert sum("# step" in part for part in texts_of(text, 300).values()) == 1


def test_an_edit_changes_its_own_section_and_no_name() -> None:
    """Oracle: 60 edits of one paragraph each, of a book with headings and of one without."""
    for headings in (True, False):
        text = book(chapters=10, headings=headings)
        before = texts_of(text)
        paragraphs = text.split("\n\n")
        changed, most = 0, 0
        chosen = [place for place in range(2, len(paragraphs)) if not paragraphs[place].startswith("#")][::2]
        for place in chosen:
            edited = [*paragraphs]
            edited[place] = edited[place] + " New words at the end."
            after = texts_of("\n\n".join(edited))
            different = len(after.items() - before.items())
            changed += different
            most = max(most, different)
        assert changed / len(chosen) <= 2
        assert most <= 5


def test_names_stay_when_text_is_put_in_before_them() -> None:
    text = book()
    before = texts_of(text)
    after = texts_of(f"# Preface\n\n{prose(77, 170)}\n\n{text}")
    assert len(before.keys() - after.keys()) <= 1
    assert len(after.items() - before.items()) <= 2


def test_repeated_headings_and_texts_have_names_of_their_own() -> None:
    text = "\n\n".join([f"# Notes\n\n{prose(number % 2, 180)}" for number in range(8)])
    assert len(texts_of(text)) == 8


def test_a_section_lies_in_its_documents_shard() -> None:
    for source in ("a/book.md", "mail.jsonl#200"):
        for section in cut(source, book(), WORDS):
            assert whole_source(section.source) == source
            assert document_id(section.source)[:SHARD_DIGITS] == document_id(source)[:SHARD_DIGITS]
            assert document_id(section.source) != document_id(source)


def test_a_corpus_of_one_book_has_documents_on_each_side_of_the_split(tmp_path: Path) -> None:
    text = book(chapters=30)
    row = ["book.md", "text/markdown", "utf-8", digest(text.encode()), text, "", "", ""]
    columns = [[document_id("book.md")], *([value] for value in row)]
    write_table(pa.table(columns, DOCUMENTS), tmp_path / "collect" / shard_name(0))
    report = clean(CleanConfig(section_words=150), tmp_path / "collect", tmp_path / "clean")
    kept = read_folder(tmp_path / "clean")
    assert (report["documents_in"], report["cut"]) == (1, 1)
    assert report["sections"] == report["kept"] + sum(report["dropped"].values()) > 60
    cfg = SplitConfig(validation=0.1, test=0.1)
    assert {split_of(cfg, identifier) for identifier in kept["id"].to_pylist()} == set(SPLITS)
    assert kept["id"].to_pylist() == sorted(kept["id"].to_pylist())


def test_personal_data_are_counted_where_they_were() -> None:
    parts = book(chapters=6, paragraphs=5).split("\n\n")
    parts[2] += " Write to bob@corp.example or carol@corp.example."
    parts[-1] += " Write to <EMAIL> or dave@corp.example. Call +49 171 2345678."
    results = clean_sections(CleanConfig(section_words=WORDS), "book.md", "text/markdown", "\n\n".join(parts))
    assert len(results) == 6
    assert not any("@" in result.text for result in results.values())
    counts = [result.placeholders for result in results.values() if result.placeholders]
    assert counts == [{"EMAIL": 2}, {"EMAIL": 1, "PHONE": 1}]


def test_each_section_is_judged_by_itself() -> None:
    junk = "\n\n".join(["buy now buy now buy now buy now buy now"] * 40)
    text = f"{book(4, 5)}\n\n# Advertisement\n\n{junk}\n\n# Last\n\n{prose(5, 190)}"
    results = clean_sections(CleanConfig(profile="web", section_words=WORDS), "book.md", "text/markdown", text)
    dropped = [result for result in results.values() if getattr(result, "reason", "")]
    assert 1 <= len(dropped) <= 2
    assert all("buy now" in result.text for result in dropped)
    assert len(results) - len(dropped) == 5


@pytest.mark.parametrize("words", [-1, 1, 99, 1_000_001])
def test_a_bad_number_of_words_is_explained(words: int) -> None:
    with pytest.raises(UserError, match=r"clean\.section_words.*0, or between 100"):
        CleanConfig(section_words=words)


def test_an_incremental_run_writes_what_a_run_from_nothing_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a shard of two books, one is edited; the other is taken over, dropped sections and placeholders too."""
    cfg = CleanConfig(profile="web", section_words=WORDS)
    text = (
        f"{book(4, 5)}\n\n# Junk\n\n{'buy now buy now ' * 80}\n\n# Last\n\n{prose(5, 190)} Write to bob@corp.example."
    )

    def write(folder: str, texts: dict[str, str]) -> Path:
        columns = list(
            zip(
                *(
                    (document_id(name), name, "text/markdown", "utf-8", "", text, "", "", "")
                    for name, text in texts.items()
                ),
                strict=True,
            )
        )
        write_table(pa.table([list(column) for column in columns], DOCUMENTS), tmp_path / folder / shard_name(0))
        return tmp_path / folder / shard_name(0)

    first = write("first", {"a.md": text, "b.md": text})
    second = write("second", {"a.md": text, "b.md": text.replace("# Last", "# Other")})
    value = clean_shard(tmp_path / "one", cfg, NO_EXTENSIONS, first, None)
    clean_run = clean_shard(tmp_path / "clean", cfg, NO_EXTENSIONS, second, None)
    files = {name: tmp_path / "one" / name for name in (shard_name(0), f"dropped/{shard_name(0)}")}
    cleaned: list[str] = []
    monkeypatch.setattr(recipe, "clean_sections", lambda *rest: cleaned.append(rest[1]) or clean_sections(*rest))
    before = Before(inputs={first.name: first}, files=files, value=value)
    assert clean_shard(tmp_path / "two", cfg, NO_EXTENSIONS, second, before) == clean_run
    assert cleaned == ["b.md"]
    assert any(name.startswith("dropped.") for name in clean_run["counts"])
    assert clean_run["placeholders"]
    for name in files:
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "clean" / name).read_bytes()
