"""Sections of params.yaml with the dataclasses that read them.

It must import nothing heavy: the dataclasses are defined apart from torch, spaCy and Great Expectations, so that
params.yaml is checked within a second.
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from privllm.annotate.recipe import AnnotateConfig
from privllm.clean.recipe import CleanConfig
from privllm.collect.recipe import CollectConfig
from privllm.core.base_model import SECTION as BASE
from privllm.core.params import PARAMS_FILE, read_params
from privllm.core.split import SplitConfig
from privllm.dedup.recipe import DedupConfig
from privllm.engine.executor_ray import ExecutorConfig
from privllm.engine.extensions import SECTION as EXTENSIONS
from privllm.evaluate.config import EvaluateConfig
from privllm.evaluate.rules import GateConfig
from privllm.export.config import ExportConfig
from privllm.feedback.recipe import FeedbackConfig
from privllm.models.device_config import DevicesConfig
from privllm.tasks.config import TasksConfig
from privllm.tokens.general_text import ReplayConfig
from privllm.tokens.pack import PackConfig
from privllm.tokens.token_annotations import GuideConfig
from privllm.tokens.vocabulary import TokenizerConfig
from privllm.tokens.vocabulary_sample import SampleConfig
from privllm.train.align.config import AlignConfig
from privllm.train.config import FinetuneConfig, PretrainConfig
from privllm.validate.expectations import ValidateConfig

FAMILIES = "families"
WITHOUT_DATACLASS = (FAMILIES, BASE, EXTENSIONS)  # sections that are lists or one word
DEFAULTS, TASKS = "finetune.defaults", "finetune.tasks"
SECTIONS: dict[str, type] = {
    "split": SplitConfig,
    "collect": CollectConfig,
    "clean": CleanConfig,
    "dedup": DedupConfig,
    "validate": ValidateConfig,
    "annotate": AnnotateConfig,
    "tasks": TasksConfig,
    "sample": SampleConfig,
    "tokenizer": TokenizerConfig,
    "replay": ReplayConfig,
    "pack": PackConfig,
    "guide": GuideConfig,
    "train": DevicesConfig,
    "pretrain": PretrainConfig,
    DEFAULTS: FinetuneConfig,
    "align": AlignConfig,
    "evaluate": EvaluateConfig,
    "export": ExportConfig,
    "feedback": FeedbackConfig,
    "gate": GateConfig,
    "executor": ExecutorConfig,
}


def effective_values(names: Iterable[str], path: Path = PARAMS_FILE) -> dict[str, Any]:
    """Return {section: its values}, those of params.yaml and the defaults of all that it leaves out."""
    return {name: asdict(read_params(name, SECTIONS[name], path)) for name in sorted(names)}
