"""`privllm params --suggest`: values for this corpus and this machine, literally in params.yaml; the build reads only those.

    reports/pack.json (before a build, the bytes in data/sources), params.yaml, a measured speed -> suggestions, the edited params.yaml

The rules are in `suggestion`; here is what they need to know, and what becomes of their values.
"""

import difflib
import json
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from privllm.core.base_model import BASE, INCUMBENT, SCRATCH, Start, starts_in
from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.params import PARAMS_FILE, load_sections, read_params
from privllm.core.split import SplitConfig
from privllm.parameters.edit import set_values
from privllm.parameters.sections import FAMILIES
from privllm.parameters.suggestion import (
    CorpusFacts,
    FamilyPlan,
    Setting,
    Speed,
    bytes_per_token,
    context_for,
    plan_family,
)
from privllm.tokens.kept_vocabulary import VOCABULARY, kept_for, settings_of
from privllm.tokens.pack import PackConfig
from privllm.tokens.vocabulary import TokenizerConfig
from privllm.tokens.vocabulary_sample import SampleConfig
from privllm.train.config import PretrainConfig
from privllm.train.memory_need import shape_of

PACK_REPORT = Path("reports/pack.json")
TOKENIZER_REPORT = Path("reports/tokenizer.json")
SOURCES = Path("data/sources")
TEXT_SHARE = {
    ".html": 0.25,
    ".htm": 0.25,
    ".xml": 0.4,
    ".jsonl": 0.8,
    ".json": 0.8,
}  # of a file's bytes; else all of them
LAYERS = ("layers", "encoder_layers", "decoder_layers")  # of the families' `model` sections

ModelShape = tuple[int, int, int]  # layers, width, heads


class Suggestions(NamedTuple):
    """What is suggested, and the file with it."""

    corpus: CorpusFacts
    device: str
    context: Setting  # of all families
    families: dict[str, FamilyPlan]
    before: str
    after: str

    def lines(self) -> Iterator[str]:
        """Yield the suggestions with their reasons, and the difference to the file."""
        yield f"{self.corpus.tokens:,} training tokens ({self.corpus.source}); trained on {self.device}"
        yield from _rows([self.context])
        for family, family_plan in self.families.items():
            yield ""
            yield f"pretrain.{family}, about {family_plan.seconds / 60:.1f} minutes"
            yield from _rows(family_plan.settings)
            for warning in family_plan.warnings:
                yield f"  note: {warning}"
        yield ""
        if self.before == self.after:
            yield f"{PARAMS_FILE} says so already."
            return
        before, after = self.before.splitlines(), self.after.splitlines()
        yield from difflib.unified_diff(before, after, str(PARAMS_FILE), "suggested", n=0, lineterm="")


def _rows(settings: list[Setting]) -> Iterator[str]:
    for setting in settings:
        yield f"  {setting.key} {setting.value}: {setting.reason}"


def suggest(minutes: float | None, root: Path = Path()) -> Suggestions:
    """Return what to set in the build at `root`, whose families train for `minutes` altogether.

    Raises UserError where there are neither documents nor the report of a build, or params.yaml has a fault.
    """
    from privllm.models import devices

    path = root / PARAMS_FILE
    families = load_sections(path).get(FAMILIES) or list(TRAITS)
    starts = starts_in(load_sections(path), families)
    pretrain = read_params("pretrain", PretrainConfig, path)
    corpus = corpus_facts(root)
    begins_elsewhere = any(start.place != SCRATCH for start in starts.values())
    bases = {family: _base_of(starts[family], family, root) for family in families}
    vocabulary = read_params("tokenizer", TokenizerConfig, path).vocabulary
    if not begins_elsewhere and not _uses_kept_vocabulary(root):
        corpus = _in_tokens_of(vocabulary, corpus)
    elif base_vocabularies := [base.vocabulary for base in bases.values() if base]:
        corpus = _in_tokens_of(base_vocabularies[0], corpus)  # a build has one vocabulary
    context = context_for(corpus, devices.on_gpu())
    used_context = read_params("pack", PackConfig, path).context if begins_elsewhere else context.value
    if used_context != context.value:
        context = Setting(context.key, used_context, "as it is: a base model sees no more than it was made for")
    seconds = None if minutes is None else 60 * minutes / len(families)
    plans: dict[str, FamilyPlan] = {}
    values = {context.key: context.value}
    for family in families:
        cfg, base = getattr(pretrain, family), bases[family]
        shape = _shape_of(cfg) if starts[family].place == INCUMBENT else None
        if base:
            shape = base.model_shape
        family_plan = plan_family(
            corpus,
            int(context.value),
            devices.on_gpu(),
            type(cfg)().learning_rate,
            _probe(family, cfg, base.vocabulary if base else vocabulary),
            seconds,
            shape,
            cfg.from_base.epochs if base else math.inf,
        )
        family_plan = family_plan._replace(settings=_settings_of(family_plan, cfg, is_base=base is not None))
        plans[family] = family_plan
        for setting in family_plan.settings:
            values[f"pretrain.{family}.{setting.key}"] = setting.value
    before = path.read_text("utf-8")
    return Suggestions(corpus, devices.name(), context, plans, before, set_values(before, values))


def _uses_kept_vocabulary(root: Path) -> bool:
    """Return whether the next build uses a kept vocabulary. Raises UserError where it was not fetched."""
    path = root / PARAMS_FILE
    learnt_with = settings_of(
        read_params("tokenizer", TokenizerConfig, path), read_params("sample", SampleConfig, path)
    )
    return kept_for(root / VOCABULARY, learnt_with) is not None


def _in_tokens_of(vocabulary: int, corpus: CorpusFacts) -> CorpusFacts:
    """Return the facts counted in the tokens of another vocabulary of this size."""
    factor = bytes_per_token(corpus.vocabulary) / bytes_per_token(vocabulary)
    tokens, document_tokens = round(corpus.tokens * factor), round(corpus.document_tokens * factor)
    return replace(corpus, tokens=tokens, document_tokens=document_tokens, vocabulary=vocabulary)


def _probe(family: str, cfg: Any, vocabulary: int) -> Speed:
    """Return what measures how fast a family's model of some shape trains here."""
    from privllm.train.speed_probe import tokens_per_second

    def speed(shape: ModelShape, context: int, batch_size: int) -> float:
        model = _with_shape(cfg.model, shape)
        return tokens_per_second(family, model, replace(cfg, batch_size=batch_size), vocabulary, context)

    return speed


class _Base(NamedTuple):
    """What a model of others is like."""

    model_shape: ModelShape
    vocabulary: int


def _base_of(start: Start, family: str, root: Path) -> _Base | None:
    """Return what the model of others that a family starts from is like; None where it starts otherwise."""
    file = root / start.place / "config.json"
    if not BASE.fullmatch(start.place) or not file.is_file():
        return None
    config = json.loads(file.read_text("utf-8"))
    shape = shape_of(config)
    if shape is None or config.get("model_type") not in TRAITS[family].model_types:
        return None
    about_64_wide = range(max(1, shape.width // 64), 0, -1)
    heads = next(count for count in about_64_wide if shape.width % count == 0)
    return _Base((shape.layers, shape.width, heads), shape.vocabulary)


def _shape_of(cfg: Any) -> ModelShape:
    """Return the shape that a family's section gives its model."""
    layers = next(getattr(cfg.model, key) for key in LAYERS if hasattr(cfg.model, key))
    return layers, cfg.model.width, cfg.model.heads


def _settings_of(made: FamilyPlan, cfg: Any, is_base: bool) -> list[Setting]:
    """Return the settings by the keys that a family's section has.

    Training that starts from a model of others reads `from_base`, whose learning rate stays as it is.
    """
    settings = []
    for setting in made.settings:
        if is_base and setting.key == "learning_rate":
            continue
        if setting.key == "model.tie_embeddings" and not hasattr(cfg.model, "tie_embeddings"):
            continue
        if is_base and setting.key == "epochs":
            settings.append(setting._replace(key="from_base.epochs"))
        elif setting.key != "model.layers" or hasattr(cfg.model, "layers"):
            settings.append(setting)
        else:
            for key in LAYERS[1:]:
                settings.append(setting._replace(key=f"model.{key}", value=_half(int(setting.value))))
    return settings


def _half(layers: int) -> int:
    """Return the layers of an encoder or a decoder: together they have about as many as one stack."""
    return max(1, round(layers / 2))


def _with_shape(model: Any, shape: ModelShape) -> Any:
    layers, width, heads = shape
    if hasattr(model, "layers"):
        return replace(model, layers=layers, width=width, heads=heads)
    return replace(model, encoder_layers=_half(layers), decoder_layers=_half(layers), width=width, heads=heads)


def corpus_facts(root: Path = Path()) -> CorpusFacts:
    """Return the size of the training text: as it was packed, else estimated from the sources."""
    with suppress(OSError, ValueError, KeyError):
        vocabulary = json.loads((root / TOKENIZER_REPORT).read_text("utf-8"))["vocabulary"]
        report = json.loads((root / PACK_REPORT).read_text("utf-8"))
        tokens, documents = (report[figure]["train"] for figure in ("tokens", "documents"))
        return CorpusFacts(tokens, round(tokens / max(1, documents)), vocabulary, f"{PACK_REPORT}")
    split = read_params("split", SplitConfig, root / PARAMS_FILE)
    vocabulary = read_params("tokenizer", TokenizerConfig, root / PARAMS_FILE).vocabulary
    all_bytes, files = 0.0, 0
    for file in (root / SOURCES).rglob("*"):
        if file.is_file():
            all_bytes += file.stat().st_size * TEXT_SHARE.get(file.suffix.lower(), 1.0)
            files += 1
    text_bytes = all_bytes * (1 - split.validation - split.test)
    tokens = round(text_bytes / bytes_per_token(vocabulary))
    if not tokens:
        raise UserError(f"{SOURCES} holds no documents, and {PACK_REPORT} none of a build: put documents there first.")
    document_tokens = round(all_bytes / bytes_per_token(vocabulary) / files)
    return CorpusFacts(tokens, document_tokens, vocabulary, f"estimated from {files:,} files in {SOURCES}")
