"""Parameters of `clean`: rules for some sources, and what is no rule."""

from pathlib import Path

import pyarrow as pa
import pytest

from privllm.clean.config import CleanConfig, SourceRules, rules_for
from privllm.clean.quality import QualityConfig
from privllm.clean.recipe import clean
from privllm.core.errors import UserError
from privllm.core.params import read_params
from privllm.core.records import DOCUMENTS, document_id
from privllm.core.tables import read_folder, write_table

LOG = "10:00 started. " * 40  # repeats itself
RULES = {
    "logs": SourceRules("^logs/", "web", {"max_top_ngram": 1, "max_duplicate_ngrams": 1.0, "min_stop_words": 0}),
    "deep": SourceRules("/logs/", "web"),
    "all": SourceRules(".", quality={"min_words": 3}),
}


@pytest.mark.parametrize(
    ("source", "profile", "min_words", "top"),
    [
        ("logs/a.txt", "web", 20, 1),
        ("house/logs/a.txt", "web", 20, 0.2),
        ("house/a.txt", "private", 3, 0.2),
        ("", "private", 20, 0.2),
    ],
)
def test_the_first_pattern_that_is_found_decides(source: str, profile: str, min_words: int, top: float) -> None:
    cfg = rules_for(source, CleanConfig(sources=RULES))
    assert (cfg.profile, cfg.quality.min_words, cfg.quality.max_top_ngram) == (profile, min_words, top)
    assert cfg.quality.max_bullet_lines == QualityConfig().max_bullet_lines
    assert type(cfg.quality.min_words) is int


def write_log(folder: Path, *sources: str) -> None:
    rows = [
        {"id": document_id(source), "source": source, "media_type": "text/plain", "text": LOG} for source in sources
    ]
    write_table(pa.Table.from_pylist(rows, DOCUMENTS), folder / "00000.parquet")


def test_other_rules_hold_where_they_are_given(tmp_path: Path) -> None:
    write_log(tmp_path / "collect", "logs/a.txt", "house/logs/a.txt", "house/a.txt")
    report = clean(CleanConfig(sources=RULES), tmp_path / "collect", tmp_path / "clean")
    kept = set(read_folder(tmp_path / "clean")["source"].to_pylist())
    assert kept == {"logs/a.txt", "house/a.txt"}
    assert report["dropped"] == {"too_few_stop_words": 1}
    assert report["flagged"] == {"too_few_stop_words": 1}, "one is kept and listed, the other breaks no rule"


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        ("{}", r"`clean\.sources\.logs\.pattern` \(.*line \d+\) is out of range: it must be a pattern"),
        ("{pattern: '('}", r"`clean\.sources\.logs\.pattern` \(.*is no RE2 pattern"),
        ("{pattern: a, profile: webb}", r"`clean\.sources\.logs\.profile` \(.*private or web"),
        ("{pattern: a, quality: {min_wordz: 1}}", r"`clean\.sources\.logs\.quality\.min_wordz` .*one of min_words"),
        ("{pattern: a, quality: {min_words: 1.5}}", r"`clean\.sources\.logs\.quality\.min_words` .*a whole number"),
        (
            "{pattern: a, quality: {max_top_ngram: 2}}",
            r"`clean\.sources\.logs\.quality\.max_top_ngram` .*between 0 and 1",
        ),
        ("{pattern: a, quality: {min_words: many}}", r"min_words"),
        ("{patern: a}", r"patern"),
    ],
)
def test_what_is_no_rule_is_named(rules: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(f"clean:\n  sources:\n    logs: {rules}\n")
    with pytest.raises(UserError, match=fault):
        read_params("clean", CleanConfig, tmp_path / "params.yaml")
