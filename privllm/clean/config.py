"""Parameters of `clean`, and which of them hold for a document."""

from dataclasses import dataclass, field, fields, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from privllm.clean import language
from privllm.clean.page_text import FORMATS
from privllm.clean.pii import PiiConfig
from privllm.clean.quality import QualityConfig
from privllm.core.params import WrongValue, require

PROFILES = ("private", "web")


@dataclass
class SourceRules:
    """Other rules for the documents whose path matches a pattern."""

    pattern: str = ""  # RE2 pattern that is found in a document's path, such as '^logs/'; must be given
    profile: str = ""  # private or web, as clean.profile; empty: that one
    quality: dict[str, float] = field(
        default_factory=dict
    )  # limits by name, such as {min_words: 5}, in place of those of clean.quality

    def check(self, where: str) -> None:
        """Raise WrongValue, which names the key below `where`, for a value that is not allowed."""
        require(bool(self.pattern), f"{where}.pattern", "a pattern of paths, such as '^logs/'")
        try:
            pc.match_substring_regex(pa.array([""]), self.pattern)
        except pa.ArrowInvalid as error:
            raise WrongValue(f"{where}.pattern", f"is no RE2 pattern: {str(error).rstrip('.')}") from None
        require(self.profile in ("", *PROFILES), f"{where}.profile", " or ".join(PROFILES))
        known = {limit.name: limit.type for limit in fields(QualityConfig)}
        for name, value in self.quality.items():
            require(name in known, f"{where}.quality.{name}", f"one of {', '.join(known)}")
            is_count = known[name] is int
            require(not is_count or value == int(value), f"{where}.quality.{name}", "a whole number")
        self.limits(QualityConfig(), where)

    def limits(self, general: QualityConfig, where: str = "clean.sources") -> QualityConfig:
        """Return the limits in `general` with those given here in their places. Raises WrongValue, as `check` does."""
        types: dict[str, Any] = {limit.name: limit.type for limit in fields(QualityConfig)}
        given: dict[str, Any] = {
            name: int(value) if types[name] is int else value for name, value in self.quality.items()
        }
        try:
            return replace(general, **given)
        except WrongValue as error:
            raise WrongValue(error.key.replace("clean", where, 1), error.fault) from None


@dataclass
class CleanConfig:
    # private: drop only what is empty, binary or garbage, and list what breaks a rule of quality; web: drop that too
    profile: str = "private"
    format: str = "markdown"  # of pages: markdown (headings, lists, tables and code keep their signs) or text
    max_html_characters: int = 64_000_000  # a page with more is dropped unparsed, [1,000, 1,000,000,000]
    languages: list[str] = field(default_factory=list)  # ISO 639 codes to keep, such as [en, de, 'no']; empty: all
    min_language_score: float = 0.65  # how sure the model must be before another language is dropped, [0, 1]
    section_words: int = 2_000  # of a document with more than twice as many; 0: cut none, 0 or [100, 1,000,000]
    pii: PiiConfig = field(default_factory=PiiConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    sources: dict[str, SourceRules] = field(
        default_factory=dict
    )  # other rules for some documents, by a name of your own

    def __post_init__(self) -> None:
        require(self.profile in PROFILES, "clean.profile", " or ".join(PROFILES))
        require(self.format in FORMATS, "clean.format", f"one of {', '.join(FORMATS)}")
        require(
            self.section_words == 0 or 100 <= self.section_words <= 1_000_000,
            "clean.section_words",
            "0, or between 100 and 1,000,000",
        )
        require(
            1_000 <= self.max_html_characters <= 1_000_000_000,
            "clean.max_html_characters",
            "between 1,000 and 1,000,000,000",
        )
        require(0 <= self.min_language_score <= 1, "clean.min_language_score", "between 0 and 1")
        for code in self.languages:
            if code.lower() == "false":
                raise WrongValue("clean.languages", "holds a false, which YAML makes of an unquoted no: write 'no'")
            if code not in language.LANGUAGES:
                nearest = language.nearest_language(code)
                hint = (
                    f"the nearest that it knows is `{nearest}`" if nearest else "they are ISO 639-1 codes, such as `en`"
                )
                fault = f"names `{code}`, which the language model does not know; {hint}"
                raise WrongValue("clean.languages", fault)

        for name, rules in self.sources.items():
            rules.check(f"clean.sources.{name}")


def rules_for(source: str, cfg: CleanConfig) -> CleanConfig:
    """Return the parameters for the document at `source`: those of the first of `cfg.sources` whose pattern it matches."""
    for rules in cfg.sources.values():
        if pc.match_substring_regex(pa.scalar(source), rules.pattern).as_py():
            profile = rules.profile or cfg.profile
            return replace(cfg, profile=profile, quality=rules.limits(cfg.quality), sources={})
    return cfg
