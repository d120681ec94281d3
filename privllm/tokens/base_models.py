"""start: what params.yaml names as the beginning of each training, fetched to where the training will look for it.

    data/promoted/model/incumbent/{<family>, tokenizer, documents.parquet}    the last promoted revision's
    data/base/<name>                                                          a Hugging Face folder that people put there
        -> data/start/<family>     start.json; config.json, generation_config.json, safetensors and tokenizer.json where it is not
                                   from scratch; documents.parquet, what the incumbent was trained on
           data/start/tokenizer    start.json; the files of the tokenizer, its chat template among them

Everything behind depends on these copies and never on the places they come from: with `scratch` they are one line that no promotion
changes. Files stay as they are, but for what `base_tokenizer` has to add to tokenizer.json; start.json says which ids that gave. It
loads no model: `models.base_weights` does.
"""

import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from privllm.core.base_model import DOCUMENTS, INCUMBENT, NOTE, SCRATCH, TOKENIZER, Start, untrainable
from privllm.core.families import TRAITS
from privllm.core.printable import say
from privllm.core.report import write_json
from privllm.engine.cache import place
from privllm.engine.tracked_folder import TrackedFolder
from privllm.tokens.base_tokenizer import BaseTokenizer, complete
from privllm.tokens.chat_format import has_turns, reads_template, template_of
from privllm.tokens.chat_template import FILE as TEMPLATE
from privllm.tokens.special_ids import roles_of

TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_SETTINGS = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    TEMPLATE,
)  # beside it, where a folder has them
CONFIG = "config.json"
GENERATION = "generation_config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def take_starts(starts: Mapping[str, Start], promoted: Path, base: Path, out: Path) -> dict[str, Any]:
    """Copy the model of each start into `out` and return the report.

    `starts` is {a family, or TOKENIZER: where it begins}; `promoted` is data/promoted/model. Raises UserError
    for a start that is missing, of another family, pickled, or outside of what the build tracks.
    """
    report: dict[str, Any] = {}
    families = starts.keys() & TRAITS.keys()
    completed: dict[Path, BaseTokenizer] = {}  # by folder: a large one takes seconds, and most builds name only one
    shutil.rmtree(out, ignore_errors=True)
    for name, start in sorted(_by_family(starts, promoted, base).items()):
        target = out / name
        note: dict[str, Any] = {"start": start.place}
        report[name] = {"start": start.place}
        if start.place != SCRATCH:
            model, tokenizer = _sources(name, start, promoted, base)
            if tokenizer.folder not in completed:
                completed[tokenizer.folder] = _completed(tokenizer, families)
            completed_tokenizer = completed[tokenizer.folder]
            target.mkdir(parents=True)
            (target / TOKENIZER_FILE).write_text(completed_tokenizer.tokenizer, "utf-8")
            if name == TOKENIZER:
                for file in TOKENIZER_SETTINGS:
                    _copy_optional(tokenizer, file, target)
                report[name]["added"] = completed_tokenizer.names()
                report[name]["chat_template"] = _template_report(tokenizer)
            else:
                _take_model(name, model, target)
                note |= {"added": completed_tokenizer.added, "chat": _converses(model)}
            if name != TOKENIZER and start.place == INCUMBENT:
                _copy(TrackedFolder(model.key, promoted / INCUMBENT, promoted), DOCUMENTS, target)
        write_json(target / NOTE, note)
        report[name]["bytes"] = sum(path.stat().st_size for path in target.iterdir())
    return report


def _by_family(starts: Mapping[str, Start], promoted: Path, base: Path) -> dict[str, Start]:
    """Return the starts; a family that a shared model is not of begins from scratch."""
    resolved = dict(starts)
    for name, start in starts.items():
        if name == TOKENIZER or not start.is_shared or start.place == SCRATCH:
            continue
        if start.place == INCUMBENT:
            fits = (promoted / INCUMBENT / name).is_dir() or not (promoted / INCUMBENT).is_dir()
        else:
            fits = _kind_of(_base_folder(start, base)) in TRAITS[name].model_types
        if not fits:
            resolved[name] = start._replace(place=SCRATCH)
    model = starts.get(TOKENIZER)
    if (
        model
        and model.is_shared
        and all(start.place == SCRATCH for name, start in resolved.items() if name != TOKENIZER)
    ):
        _require_any(model, [name for name in starts if name != TOKENIZER], base)
    return resolved


def _require_any(start: Start, families: Collection[str], base: Path) -> None:
    """Raise UserError where a shared model is of none of the families that are built."""
    if start.place in (SCRATCH, INCUMBENT):
        return
    source = _base_folder(start, base)
    supported = [f"{family} ({', '.join(TRAITS[family].model_types)})" for family in sorted(families)]
    raise source.error(
        f"{source.folder} holds a {_kind_of(source)} model, which no family can begin with: {'; '.join(supported)}"
    )


def _base_folder(start: Start, base: Path) -> TrackedFolder:
    source = TrackedFolder(start.key, base / Path(start.place).name, base)
    source.require_folder()
    return source


def _kind_of(source: TrackedFolder) -> str:
    """Return transformers' name for the architecture of a model."""
    config = source.json(CONFIG)
    if not config:
        raise source.error(f"{source.folder} holds no {CONFIG}, so it is no Hugging Face model")
    return str(config.get("model_type"))


def _sources(name: str, start: Start, promoted: Path, base: Path) -> tuple[TrackedFolder, TrackedFolder]:
    """Return the folders of a start's weights and of the tokenizer that belongs to them."""
    key = start.key
    if start.place != INCUMBENT:
        source = _base_folder(start, base)
        return source, source
    model = TrackedFolder(key, promoted / INCUMBENT / name, promoted)
    tokenizer = TrackedFolder(key, promoted / INCUMBENT / TOKENIZER, promoted)
    if not (promoted / INCUMBENT).is_dir():
        raise model.error(
            f"nothing has been promoted yet ({promoted / INCUMBENT} is not there): `privllm promote`, or take `scratch`"
        )
    if not model.folder.is_dir():
        raise model.error(f"the promoted model has no part `{name}` ({model.folder} is not there): take `scratch`")
    return model, tokenizer


def _completed(source: TrackedFolder, families: Collection[str]) -> BaseTokenizer:
    """Return the tokenizer of a folder with what the build's families need beside it."""
    path = source.path(TOKENIZER_FILE)
    if path is None:
        raise source.error(
            f"{source.folder} holds no {TOKENIZER_FILE}; `AutoTokenizer.from_pretrained(...).save_pretrained(...)` writes one"
        )
    names = roles_of(source.json("special_tokens_map.json") | source.json("tokenizer_config.json"))
    source.json(TOKENIZER_FILE)  # raises where it is no JSON object
    converses = any(TRAITS[family].can_converse for family in families)
    needs_turns = converses and not has_turns(source.folder)
    return complete(path.read_text("utf-8"), names, str(path), families, needs_turns=needs_turns)


def _template_report(source: TrackedFolder) -> str:
    """Return what becomes of the base's chat template, and say where it is another one than the base's."""
    if not template_of(source.folder):
        return "none"
    if reads_template(source.folder):
        return "kept"
    say(
        f"note: the chat template of {source.folder} cannot be read as marks around turns (it may depend on dates, tools or "
        "thoughts), so conversations get others: ChatML's where the tokenizer has them, else marks of our own. A model that was "
        "taught its own must learn these.",
        err=True,
    )
    return "replaced"


def _converses(source: TrackedFolder) -> bool:
    """Return whether the model in a folder answers messages: as training noted it, or as its chat template says."""
    facts = source.json("training.json")
    if facts:
        return bool(facts.get("chat", False))
    return bool(template_of(source.folder)) and reads_template(source.folder)


def _take_model(family: str, source: TrackedFolder, out: Path) -> None:
    """Copy the configuration and the weights of a model of the family, and nothing else."""
    kind = _kind_of(source)
    if kind not in TRAITS[family].model_types:
        fits = [name for name, traits in TRAITS.items() if kind in traits.model_types]
        right_family = f", which is of the {fits[0]} family" if fits else ""
        raise source.error(
            f"{source.folder} holds a {kind} model{right_family}; a {family} one is {' or '.join(TRAITS[family].model_types)}"
        )
    if reason := untrainable(source.json(CONFIG), str(source.folder)):
        raise source.error(reason)
    _copy(source, CONFIG, out)
    _copy_optional(source, GENERATION, out)
    for name in _weights(source):
        _copy(source, name, out)


def _weights(source: TrackedFolder) -> list[str]:
    """Return the files of its weights, the index of the shards among them."""
    if source.path(WEIGHTS):
        return [WEIGHTS]
    if not source.path(INDEX):
        raise source.error(f"{source.folder} holds no {WEIGHTS}{_pickle_hint(source.folder)}")
    shard_of_weight = source.json(INDEX).get("weight_map", {})
    shards = sorted(set(shard_of_weight.values()))
    for name in shards:
        if Path(name).name != name or not name.endswith(".safetensors") or not source.path(name):
            raise source.error(f"{INDEX} in {source.folder} names {name}, which is no file of safetensors there")
    return [INDEX, *shards]


def _pickle_hint(folder: Path) -> str:
    """Return why pickled weights do not count; "" where there are none."""
    pickled: list[str] = []
    for pattern in PICKLED:
        pickled += [path.name for path in folder.glob(pattern)]
    if not pickled:
        return ""
    return f"; {min(pickled)} is a pickle, which could run code and is not opened: save the model as safetensors"


def _copy_optional(source: TrackedFolder, name: str, out: Path) -> None:
    if source.path(name):
        _copy(source, name, out)


def _copy(source: TrackedFolder, name: str, out: Path) -> None:
    path = source.path(name)
    if path is None:
        raise source.error(f"{source.folder / name} is missing")
    place(path, out / name, ("reflink", "copy"))
