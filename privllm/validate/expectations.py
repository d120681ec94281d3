"""What a corpus must be like before anything is annotated, tokenised or trained: the list, in plain English.

Each `Check` is one expectation of Great Expectations, described without importing it; `suite` carries them out. They
judge four tables: `shards` and `reasons` (one row each), `documents` (`statistics.STATISTICS`) and `totals` (one row). A critical
one stops the build, a warning is reported. How many there are depends on no document.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from privllm.core.params import require
from privllm.validate.drift import MEASURES, DriftConfig

SEVERITIES = ("warning", "critical")
COPIED_SHARE = "copied_share"  # of the held-out text, in the table `totals`
LISTED = 5  # documents named for a failed expectation

LEFTOVERS = {
    "emails": "an e-mail address",
    "cards": "a payment card number",
    "ibans": "an IBAN",
    "private_keys": "a private key",
    "phones": "an international phone number",
}
DRIFTS = {
    "characters": "lengths of the documents",
    "placeholder_density": "density of placeholders",
    "unique_words": "share of different words",
    "language": "mix of languages",
    "folder": "mix of source folders",
}


@dataclass
class LossesConfig:
    # share of what was found that is quarantined, or of the documents that is dropped, for any one reason; > 0
    warn: float = 0.1
    stop: float = 0.5  # the same, > warn and at most 1: above it the build stops

    def __post_init__(self) -> None:
        require(0 < self.warn < self.stop <= 1, "validate.losses", "0 < warn < stop <= 1")


@dataclass
class ValidateConfig:
    min_characters: int = 1  # of every document, >= 1; critical
    max_characters: int = 5_000_000  # of `mostly` documents, > min_characters
    max_placeholder_density: float = 0.2  # placeholders per word, of `mostly` documents, [0, 1]
    max_mean_placeholder_density: float = 0.1  # the same over the whole corpus, [0, 1]; critical
    min_unique_words: float = 0.1  # share of different words among the first 1,000, of `mostly` documents, [0, 1]
    min_language_score: float = 0.3  # of `mostly` documents whose language was asked, [0, 1]
    mostly: float = 0.95  # share of documents that a warning about single documents asks for, (0, 1]
    language: str = ""  # ISO 639-1; "" takes the most frequent, and a low share of it is then a warning only
    min_language_share: float = 0.5  # of the documents, [0, 1]; critical where `language` is named
    # documents that clean kept / files, and documents inside files, that were found, [0, 1]; critical
    min_survival: float = 0.2
    # share of the held-out text that training documents hold too, in runs of 13 words or more, [0, 1]
    max_copied: float = 0.3
    losses: LossesConfig = field(default_factory=LossesConfig)
    drift: DriftConfig = field(default_factory=DriftConfig)

    def __post_init__(self) -> None:
        shares = ("max_placeholder_density", "max_mean_placeholder_density", "min_unique_words")
        for key in (*shares, "min_language_score", "mostly", "min_language_share", "min_survival", "max_copied"):
            require(0 <= getattr(self, key) <= 1, f"validate.{key}", "a share between 0 and 1")
        require(self.mostly > 0, "validate.mostly", "above 0")
        require(
            re.fullmatch(r"|[a-z]{2,3}", self.language) is not None,
            "validate.language",
            "a code such as `en`, or empty",
        )
        require(
            1 <= self.min_characters < self.max_characters,
            "validate.min_characters",
            "at least 1 and below `max_characters`",
        )


@dataclass(frozen=True)
class Check:
    """One expectation. `kind` is a key of `suite.KINDS`, `limits` are that expectation's own arguments."""

    name: str
    severity: str  # critical, warning
    kind: str
    limits: Mapping[str, Any]
    parameter: str = ""  # what to turn in params.yaml; "" where nothing should be turned

    @property
    def allowed(self) -> str:
        """Return the limits in words, "" where the name says it all."""
        forms = {"min_value": "at least {:g}", "max_value": "at most {:g}", "mostly": "in {:.0%} of them"}
        words = [form.format(self.limits[key]) for key, form in forms.items() if key in self.limits]
        return ", ".join(words)


def expectations(
    cfg: ValidateConfig, columns: str, changed: Mapping[str, Mapping[str, float]]
) -> dict[str, list[Check]]:
    """Return {table: checks}.

    `columns` is how a shard's columns should read, `changed` the result of `drift.drift`.
    """
    documented = {"column": "columns", "value_set": [columns]}
    return {
        "shards": [Check("Every shard has the documented columns", "critical", "in set", documented)],
        "documents": [*_identity(), *_texts(cfg), *_personal_data()],
        "reasons": _losses(cfg.losses),
        "totals": [*_accounts(cfg), *_mixture(cfg), *_drift(cfg.drift, changed)],
    }


def sentences_of(checks: Mapping[str, list[Check]]) -> set[str]:
    """Return the names of all checks, of which no two are equal."""
    return {check.name for table_checks in checks.values() for check in table_checks}


def _identity() -> list[Check]:
    digest = {"column": "id", "regex": r"^[0-9a-f]{32}\Z"}
    named = {"column": "source", "min_value": 1}
    return [
        Check("No two documents share an id", "critical", "unique", {"column": "id"}),
        Check("Every id is 32 hexadecimal digits", "critical", "regex", digest),
        Check("Every document says where it came from", "critical", "length", named),
    ]


def _texts(cfg: ValidateConfig) -> list[Check]:
    not_empty = f"Every document has at least {_plural(cfg.min_characters, 'character')}"
    least = {"column": "characters", "min_value": cfg.min_characters}
    not_long = f"at most {cfg.max_characters:,} characters"
    few_placeholders = f"at most {cfg.max_placeholder_density:g} placeholders per word"
    many_words = f"at least {cfg.min_unique_words:.0%} different words among the first 1,000"
    clear_language = f"a language score of at least {cfg.min_language_score:g}"
    return [
        Check(not_empty, "critical", "between", least, "min_characters"),
        _mostly(cfg, not_long, "characters", "max_characters"),
        _mostly(cfg, few_placeholders, "placeholder_density", "max_placeholder_density"),
        _mostly(cfg, many_words, "unique_words", "min_unique_words"),
        _mostly(cfg, clear_language, "language_score", "min_language_score"),
    ]


def _mostly(cfg: ValidateConfig, what: str, column: str, key: str) -> Check:
    """Return a warning for when fewer than `cfg.mostly` documents keep the limit `cfg.<key>`, a minimum or maximum by its name."""
    side = "min_value" if key.startswith("min_") else "max_value"
    limits = {"column": column, side: getattr(cfg, key), "mostly": cfg.mostly}
    return Check(f"{cfg.mostly:.0%} of the documents have {what}", "warning", "between", limits, key)


def _personal_data() -> list[Check]:
    checks = []
    for kind, what in LEFTOVERS.items():
        none_left = {"column": kind, "max_value": 0}
        checks.append(Check(f"No document still holds {what}", "critical", "between", none_left))
    return checks


def _losses(cfg: LossesConfig) -> list[Check]:
    """Return two for each way out, of every single reason: a total hides the loss of one language or one kind of file."""
    checks = []
    for column, what in (
        ("quarantined", "of what was found is quarantined"),
        ("dropped", "of the documents are dropped"),
    ):
        for key, severity in (("warn", "warning"), ("stop", "critical")):
            limits = {"column": column, "max_value": getattr(cfg, key)}
            name = f"At most {100 * limits['max_value']:g}% {what} for one reason"
            checks.append(Check(name, severity, "between", limits, f"losses.{key}"))
    return checks


def _accounts(cfg: ValidateConfig) -> list[Check]:
    all_cleaned = {"column_A": "collected", "column_B": "entered_clean"}
    none_added = {"column_A": "kept", "column_B": "documents", "or_equal": True}
    survive = f"At least {cfg.min_survival:.0%} of what was found survives reading and cleaning"
    survival = {"column": "survival_rate", "min_value": cfg.min_survival}
    return [
        Check("Clean saw every document that collect found", "critical", "equal", all_cleaned),
        Check("No document came from nowhere", "critical", "at least", none_added),
        Check(survive, "critical", "between", survival, "min_survival"),
    ]


def _mixture(cfg: ValidateConfig) -> list[Check]:
    language = f"in `{cfg.language}`" if cfg.language else "in one language"
    severity = "critical" if cfg.language else "warning"
    share = {"column": "language_share", "min_value": cfg.min_language_share}
    common = f"At least {cfg.min_language_share:.0%} of the documents are {language}"
    density = {"column": "placeholder_density", "max_value": cfg.max_mean_placeholder_density}
    copied = {"column": COPIED_SHARE, "max_value": cfg.max_copied}
    held_out = f"At most {cfg.max_copied:.0%} of the held-out text is copied from training documents"
    dense = f"The corpus has at most {cfg.max_mean_placeholder_density:g} placeholders per word"
    return [
        Check(common, severity, "between", share, "min_language_share"),
        Check(dense, "critical", "between", density, "max_mean_placeholder_density"),
        Check(held_out, "warning", "between", copied, "max_copied"),
    ]


def _drift(cfg: DriftConfig, changed: Mapping[str, Mapping[str, float]]) -> list[Check]:
    """Return two per measure. A small corpus differs from itself by chance, so no limit is below what chance explains."""
    checks = []
    for measure in MEASURES:
        chance = changed.get(measure, {}).get("chance", 0.0)
        for verb, severity, key in (
            ("changed little", "warning", "warn"),
            ("did not become another", "critical", "stop"),
        ):
            limit = max(getattr(cfg, key), chance)
            limits = {"column": f"drift_{measure}", "max_value": limit}
            name = f"The {DRIFTS[measure]} {verb} since the promoted build"
            checks.append(Check(name, severity, "between", limits, f"drift.{key}"))
    return checks


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
