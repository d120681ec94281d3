"""The stage: every document leaves by one door, redacted, and equal input gives equal bytes."""

from pathlib import Path

import pyarrow as pa
import pytest

from privllm.clean.pii import PiiConfig
from privllm.clean.recipe import (
    LIST,
    Clean,
    CleanConfig,
    Dropped,
    _shares,
    clean,
    clean_document,
    clean_shard,
    describe_languages,
    text_cleaner,
)
from privllm.core.errors import UserError
from privllm.core.params import load_sections, read_params
from privllm.core.records import CLEAN, DOCUMENTS, DROPPED, document_id, shard_name, shard_of
from privllm.core.seed import digest
from privllm.core.tables import read_folder, read_table, write_table
from privllm.engine.extensions import NO_EXTENSIONS
from privllm.engine.store import Before

ROOT = Path(__file__).resolve().parent.parent.parent
PROSE = (
    "Databases keep tables of rows, and with an index the engine finds a row without reading all of them. "
    "To build one you name the columns that your queries ask for most; write to alice@corp.example if that is too slow, "
    "since every change must be made twice, but reads have far less to look at."
)
GERMAN = (
    "Der schnelle braune Fuchs springt über den faulen Hund, während der Bauer im Schatten schläft. "
    "Anfragen an bob@firma.example bitte schriftlich stellen."
)
TEXTS = {
    "a.html": ("text/html", f"<html><body><nav>Menu</nav><main><h1>Rows</h1><p>{PROSE}</p></main></body></html>"),
    "b.txt": ("text/plain", PROSE.replace("Databases", "Data stores")),
    "c.txt": ("text/plain", GERMAN),
    "d.txt": ("text/plain", "Too short: carol@corp.example"),
    "e.html": ("text/html", ""),
    "f.html": ("text/html", "<div>" * 5_000 + "deep dave@corp.example"),
}


def write_documents(folder: Path, bits: int = 1) -> Path:
    rows = [
        {
            "id": document_id(source),
            "source": source,
            "media_type": media_type,
            "encoding": "utf-8",
            "digest": digest(text.encode()),
            "text": text,
        }
        for source, (media_type, text) in TEXTS.items()
    ]
    for index in range(2**bits):
        write_table(
            pa.Table.from_pylist([row for row in rows if shard_of(row["id"], bits) == index], DOCUMENTS),
            folder / shard_name(index),
        )
    return folder


def test_every_document_leaves_by_one_door(tmp_path: Path) -> None:
    report = clean(
        CleanConfig(profile="web", languages=["en"]), write_documents(tmp_path / "collect"), tmp_path / "clean"
    )
    kept, dropped = read_folder(tmp_path / "clean"), read_folder(tmp_path / "clean" / "dropped")
    assert kept.schema == CLEAN
    assert dropped.schema == DROPPED
    assert set(kept["source"].to_pylist()) == {"a.html", "b.txt"}
    assert dict(zip(dropped["source"].to_pylist(), dropped["reason"].to_pylist(), strict=True)) == {
        "c.txt": "language",
        "d.txt": "too_short",
        "e.html": "empty",
        "f.html": "html_too_deep",
    }
    assert report == {
        "documents_in": 6,
        "cut": 0,
        "sections": 0,
        "kept": 2,
        "dropped": {"empty": 1, "html_too_deep": 1, "language": 1, "too_short": 1},
        "flagged": {},
        "by_language": {"de": 0.1667, "en": 0.3333, "unknown": 0.5},
        "placeholders": {"EMAIL": 4},
        "characters_in": sum(len(text) for _, text in TEXTS.values()),
        "characters_out": sum(map(len, kept["text"].to_pylist())),
    }


def test_what_is_dropped_is_redacted_too(tmp_path: Path) -> None:
    clean(CleanConfig(profile="web", languages=["en"]), write_documents(tmp_path / "collect"), tmp_path / "clean")
    for folder in (tmp_path / "clean", tmp_path / "clean" / "dropped"):
        table = read_folder(folder)
        assert not any("@" in text for text in table["text"].to_pylist())
        assert sum(table["placeholders"].to_pylist()) == 2


def test_all_shards_are_written_and_bytes_repeat(tmp_path: Path) -> None:
    source = write_documents(tmp_path / "collect", bits=4)
    for out in ("one", "two"):
        clean(CleanConfig(), source, tmp_path / out)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.parquet"))
    assert len(files) == 32
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)


def test_order_within_a_shard_is_by_id(tmp_path: Path) -> None:
    source = write_documents(tmp_path / "collect", bits=0) / shard_name(0)
    turned = tmp_path / "turned" / shard_name(0)
    write_table(read_table(source).take(list(reversed(range(len(TEXTS))))), turned)
    assert clean_shard(tmp_path / "one", CleanConfig(), NO_EXTENSIONS, source, None) == clean_shard(
        tmp_path / "two", CleanConfig(), NO_EXTENSIONS, turned, None
    )
    assert (tmp_path / "one" / shard_name(0)).read_bytes() == (tmp_path / "two" / shard_name(0)).read_bytes()


def test_a_cleaned_document() -> None:
    result = clean_document(CleanConfig(), *TEXTS["b.txt"])
    assert type(result) is Clean
    assert result.text == TEXTS["b.txt"][1].replace("alice@corp.example", "<EMAIL>")
    assert (result.language, result.placeholders) == ("en", {"EMAIL": 1})


def test_what_people_say_is_cleaned_with_the_same_parameters() -> None:
    clean_reply = text_cleaner(CleanConfig(pii=PiiConfig(countries=["DK"])), NO_EXTENSIONS)
    assert clean_reply("it is 71 33 52 22, yes") == ("it is <PHONE>, yes", {"PHONE": 1})


def test_languages_are_a_choice() -> None:
    """And all of them unless somebody chooses."""
    for languages, kept in ((None, True), ([], True), (["de", "en"], True), (["en"], False)):
        cfg = CleanConfig() if languages is None else CleanConfig(languages=languages)
        found = clean_document(cfg, "text/plain", GERMAN)
        assert isinstance(found, Dropped) is not kept
        assert found.language == "de"
    assert load_sections(ROOT / "params.yaml")["clean"]["languages"] == []


def test_a_company_that_writes_german_keeps_its_documents(tmp_path: Path) -> None:
    texts = {f"{i}.txt": f"Bericht {i}. {GERMAN}" for i in range(60)} | {
        f"e{i}.txt": f"Report {i}. {PROSE}" for i in range(25)
    }
    rows = [
        {
            "id": document_id(name),
            "source": name,
            "media_type": "text/plain",
            "encoding": "utf-8",
            "digest": name,
            "text": text,
        }
        for name, text in sorted(texts.items(), key=lambda item: document_id(item[0]))
    ]
    write_table(pa.Table.from_pylist(rows, DOCUMENTS), tmp_path / "collect" / shard_name(0))
    report = clean(CleanConfig(), tmp_path / "collect", tmp_path / "clean")
    assert (report["kept"], report["dropped"]) == (85, {})
    assert report["by_language"] == {"de": 0.7059, "en": 0.2941}
    assert describe_languages(report) == "de 70.6%, en 29.4%"


def test_rare_languages_share_a_name() -> None:
    assert _shares({"en": 990, "fr": 10, "la": 9, "unknown": 1}) == {"en": 0.9802, "others": 0.0198}
    assert _shares({"en": 98, "fr": 1, "la": 1}) == {"en": 0.98, "fr": 0.01, "la": 0.01}
    assert _shares({}) == {}


@pytest.mark.parametrize(
    ("score", "least", "dropped"),
    [(0.64, 0.65, False), (0.65, 0.65, True), (0.89, 0.9, False), (0.9, 0.9, True), (0.0, 0.0, True)],
)
def test_another_language_is_dropped_where_the_model_is_sure(
    score: float, least: float, dropped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("privllm.clean.language.detect_all", lambda text: [("de", score)])
    found = clean_document(CleanConfig(languages=["en"], min_language_score=least), "text/plain", PROSE)
    assert isinstance(found, Dropped) is dropped
    assert not dropped or (found.reason, found.detail) == ("language", f"de ({score:.2f}), kept: en")  # type: ignore[union-attr]
    assert CleanConfig().min_language_score == 0.65


def test_what_was_dropped_is_listed(tmp_path: Path) -> None:
    clean(CleanConfig(profile="web", languages=["en"]), write_documents(tmp_path / "collect"), tmp_path / "clean")
    assert (tmp_path / "clean/dropped" / LIST).read_text("utf-8").splitlines() == [
        "reason\tsource\tdetail",
        "empty\te.html\tno text in it",
        "html_too_deep\tf.html\tmore than 512 elements deep, with 5000 tags",
        "language\tc.txt\tde (0.99), kept: en",
        "too_short\td.txt\t3 words, at least 20",
    ]


SHORT = {
    "faq": "Q: Are you open on Sundays?\nA: No.",
    "log": "2024-03-01 10:00:01 ERR 17\n2024-03-01 10:00:02 ERR 17\n" * 30,
    "invoice": "Invoice 4711\nPos 1  Bolt M6  40  0.12  4.80\nPos 2  Nut M6  40  0.08  3.20\nSum  8.00",
    "prices": "\n".join(f"• {i}.99 {i}" for i in range(40)),
    "buttons": "Click here to go on. " * 30,
}


@pytest.mark.parametrize("name", SHORT)
def test_a_private_text_is_kept_and_what_a_page_would_be_dropped_for_is_said(name: str) -> None:
    as_page = clean_document(CleanConfig(profile="web"), "text/plain", SHORT[name])
    assert isinstance(as_page, Dropped)
    private = clean_document(CleanConfig(), "text/plain", SHORT[name])
    assert type(private) is Clean
    assert private.flag == (as_page.reason, as_page.detail)
    assert "at least" in as_page.detail or "at most" in as_page.detail, "value and limit"


GARBAGE = {
    "binary": "ID3 \ufffd\ufffd word \ufffd\ufffd\ufffd of sound",
    "garbage": "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAABVVVVVVVVVVVVVVVVV\n" * 9,
}


@pytest.mark.parametrize("profile", ["private", "web"])
@pytest.mark.parametrize("reason", GARBAGE)
def test_garbage_is_dropped_from_any_corpus(reason: str, profile: str) -> None:
    found = clean_document(CleanConfig(profile=profile), "text/plain", GARBAGE[reason])
    assert isinstance(found, Dropped)
    assert found.reason == reason
    assert "at most" in found.detail
    ruled = clean_document(CleanConfig(profile=profile), "text/plain", "-----+-----\n|     |     |\n" * 9)
    assert isinstance(ruled, Dropped)
    assert ruled.reason == "garbage"


def test_what_is_flagged_is_counted_listed_and_taken_over(tmp_path: Path) -> None:
    source = write_documents(tmp_path / "collect", bits=0)
    report = clean(CleanConfig(), source, tmp_path / "one")
    assert report["flagged"] == {"too_short": 1}
    assert (tmp_path / "one/flagged.txt").read_text("utf-8").splitlines() == [
        "reason\tsource\tdetail",
        "too_short\td.txt\t3 words, at least 20",
    ]
    shard = shard_name(0)
    value = clean_shard(tmp_path / "two", CleanConfig(), NO_EXTENSIONS, source / shard, None)
    files = {name: tmp_path / "two" / name for name in (shard, f"dropped/{shard}")}
    before = Before({shard: source / shard}, files, value)
    assert clean_shard(tmp_path / "three", CleanConfig(), NO_EXTENSIONS, source / shard, before) == value


def test_a_mixed_document_is_flagged() -> None:
    mixed = clean_document(CleanConfig(), "text/plain", f"{PROSE}\n{PROSE}\n{GERMAN}\n{GERMAN}")
    assert mixed.flag
    assert mixed.flag[0] == "mixed_languages"
    assert "de (" in mixed.flag[1]
    assert "en (" in mixed.flag[1]


def test_cleaning_its_own_result_changes_nothing() -> None:
    once = clean_document(CleanConfig(), *TEXTS["a.html"]).text
    assert clean_document(CleanConfig(), "text/plain", once).text == once


def test_no_documents_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="data/sources"):
        clean(CleanConfig(), tmp_path, tmp_path / "out")


def test_bad_parameters_are_explained() -> None:
    with pytest.raises(UserError, match=r"clean\.languages.* names `English`.*the nearest that it knows is `en`"):
        CleanConfig(languages=["de", "English"])
    with pytest.raises(UserError, match=r"clean\.languages.* names `xx`.*ISO 639-1 codes, such as `en`"):
        CleanConfig(languages=["xx"])


def test_an_unquoted_no_is_explained_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("clean:\n  languages: [en, no]\n")
    with pytest.raises(UserError, match=r"clean\.languages` \(.*line 2\) holds a false.*write 'no'"):
        read_params("clean", CleanConfig, tmp_path / "params.yaml")
    CleanConfig(languages=["en", "no"])


@pytest.mark.slow
@pytest.mark.parametrize(("is_replaced", "author"), [("off", "Ada Lovelace <EMAIL>"), ("replace", "<PERSON_1>")])
def test_title_author_and_day_pass_without_personal_data(tmp_path: Path, is_replaced: str, author: str) -> None:
    told = {"title": "Ask bob@corp.example\n now", "author": "Ada Lovelace a@corp.example", "date": "2024-03-05"}
    row = {"id": document_id("a"), "source": "a", "media_type": "text/plain", "text": PROSE}
    rows = [row | told, row | {"id": document_id("b"), "source": "b"}]
    write_table(pa.Table.from_pylist(rows, DOCUMENTS), tmp_path / "collect" / shard_name(0))
    clean(CleanConfig(pii=PiiConfig(names=is_replaced)), tmp_path / "collect", tmp_path / "clean")
    first, second = sorted(read_folder(tmp_path / "clean").to_pylist(), key=lambda kept: kept["source"])
    assert (first["title"], first["author"], first["date"]) == ("Ask <EMAIL> now", author, "2024-03-05")
    assert (second["title"], second["author"], second["date"]) == ("", "", "")
