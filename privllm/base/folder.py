"""A Hugging Face folder from elsewhere: what of it a build needs, whether that is whole, and what stays behind.

Only named kinds of files are taken, so neither code nor a pickle arrives. Nothing in the folder is run, and no model is loaded: weights are
known by the headers of their files.
"""

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer

from privllm.core.base_model import CODE, untrainable
from privllm.core.errors import UserError
from privllm.core.families import TRAITS
from privllm.core.progress import bar
from privllm.core.report import write_json
from privllm.export.gguf_layout import ARCHITECTURES, required_names
from privllm.tokens.chat_format import template_of
from privllm.tokens.chat_template import FILE as TEMPLATE
from privllm.tokens.encode import is_lossy, with_type
from privllm.tokens.special_ids import read_object

CONFIG, GENERATION, TOKENIZER, SETTINGS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
TAKEN = (CONFIG, GENERATION, TOKENIZER, SETTINGS, TEMPLATE, "special_tokens_map.json")
LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "COPYING*")  # which must go with the weights
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack")
FLOATS = ("F64", "F32", "F16", "BF16")
CARD_LICENCE = re.compile(r"^license:\s*[\"']?([\w.+-]+)", re.MULTILINE)  # in the head of a model card
MEGABYTE = 1 << 20
CODE_DROPPED = f"`{CODE}` in {{name}} (names code)"


class Contents(NamedTuple):
    """What a folder holds."""

    architecture: str
    family: str
    parameters: int
    vocabulary: int  # rows of the matrix may be more
    context: int | None  # tokens
    has_template: bool
    licence: str  # "" where none is told
    dropped: list[str]  # files and settings that stay behind, and why
    lossy: str  # kind of a vocabulary that does not give every text back, else ""


def copy_model(source: Path, out: Path) -> list[str]:
    """Copy the files of the model in `source` to `out`, and return what stayed behind.

    Raises UserError for a folder that holds no model, one that is not whole, or one that the build cannot train.
    """
    config = read_object(source / CONFIG)
    require_trainable(config, source)
    weights = weight_files(source)
    names = [name for name in TAKEN if (source / name).is_file()]
    licences = sorted({path.name for pattern in LICENCES for path in source.glob(pattern) if path.is_file()})
    taken = [*names, *licences, *weights]
    out.mkdir(parents=True, exist_ok=True)
    with bar("copy", sum((source / name).stat().st_size for name in taken)) as advance:
        for name in taken:
            shutil.copyfile(source / name, out / name)
            advance((source / name).stat().st_size)
    dropped = [CODE_DROPPED.format(name=name) for name in (CONFIG, SETTINGS) if _drop_code(out / name)]
    template = template_of(out) or _default_template(read_object(out / SETTINGS))
    if template and not (out / TEMPLATE).is_file():
        (out / TEMPLATE).write_text(template, "utf-8")
    return [*dropped, *_left_behind(source, set(taken))]


def contents_of(folder: Path, source: Path, dropped: list[str]) -> Contents:
    """Return what `folder` holds, whose licence may stand in `source`. Raises UserError where it is not whole."""
    config = read_object(folder / CONFIG)
    family = require_trainable(config, folder)
    shapes = _shapes(folder)
    _require_whole(config, shapes)
    tokenizer = _tokenizer(folder)
    highest = max(tokenizer.get_vocab().values(), default=-1)
    if highest >= config.get("vocab_size", highest + 1):
        raise UserError(
            f"{folder / TOKENIZER} has the id {highest}, but the model only {config['vocab_size']} rows: they are of different models."
        )
    parameters = sum(_product(shape) for shape in shapes.values())
    context = config.get("max_position_embeddings") or config.get("n_positions")
    return Contents(
        config["model_type"],
        family,
        parameters,
        tokenizer.get_vocab_size(),
        context,
        bool(template_of(folder)),
        _licence(source),
        dropped,
        _lossy_vocabulary(folder),
    )


def _lossy_vocabulary(folder: Path) -> str:
    """Return the kind of a vocabulary that changes a text; "" for another."""
    definition = json.loads(with_type((folder / TOKENIZER).read_text("utf-8")))
    return definition["model"]["type"] if is_lossy(definition) else ""


def require_trainable(config: Mapping[str, Any], folder: Path) -> str:
    """Return the family of a configuration. Raises UserError where no family has this architecture, or it is quantized."""
    if not config:
        raise UserError(f"{folder} holds no {CONFIG}, so it is no Hugging Face model.")
    if reason := untrainable(config, str(folder)):
        raise UserError(f"{reason}.")
    return next(name for name, traits in TRAITS.items() if config["model_type"] in traits.model_types)


def weight_files(folder: Path) -> list[str]:
    """Return the names of the files of its weights, the index among them. Raises UserError where one is missing."""
    if (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    if not (folder / INDEX).is_file():
        raise UserError(f"{folder} holds no {WEIGHTS}{_pickle_hint(folder)}")
    shards = sorted(set(_shard_of_weight(folder).values()))
    for name in shards:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise UserError(f"{folder / INDEX} names {name}, which is no file of safetensors beside it.")
        if not (folder / name).is_file():
            raise UserError(f"{folder} lacks {name}, which {INDEX} names: it is not whole. Fetch the rest of it.")
    return [INDEX, *shards]


def _shard_of_weight(folder: Path) -> dict[str, str]:
    names = read_object(folder / INDEX).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise UserError(f"{folder / INDEX} does not say which file holds which weight.")
    return names


def _pickle_hint(folder: Path) -> str:
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if not pickles:
        return ", so it holds no weights."
    return f"; {pickles[0]} is a pickle or the like, which could run code and is not opened: save the model as safetensors."


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight. Raises UserError for a file that is cut off, numbers that are no floats, or a weight too few."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="np") as file:
                for name in file.keys():  # noqa: SIM118  (it is no dict)
                    part = file.get_slice(name)
                    if part.get_dtype() not in FLOATS:
                        raise UserError(
                            f"{path.name} holds {name} as {part.get_dtype()}: quantized weights cannot be trained."
                        )
                    shapes[name] = tuple(part.get_shape())
        except SafetensorError as error:
            raise UserError(f"{path.name} cannot be read ({error}): it is damaged or not whole.") from error
    missing = sorted(_shard_of_weight(folder).keys() - shapes.keys()) if (folder / INDEX).is_file() else []
    if missing or not shapes:
        raise UserError(f"the weights are not whole: {missing[0] if missing else 'all of them'} are missing.")
    return shapes


def _require_whole(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise UserError where a model whose weights are known by name lacks one."""
    architecture, blocks = ARCHITECTURES.get(config["model_type"]), config.get("num_hidden_layers")
    if architecture is None or not isinstance(blocks, int):
        return
    for _, name in required_names(architecture, min(blocks, len(shapes))):
        if name not in shapes:
            raise UserError(f"the weights are not whole: {name} is missing.")


def _product(shape: Iterable[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def _tokenizer(folder: Path) -> Tokenizer:
    path = folder / TOKENIZER
    if not path.is_file():
        raise UserError(
            f"there is no {TOKENIZER}; transformers' `AutoTokenizer.from_pretrained(...).save_pretrained(...)` writes one."
        )
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # `tokenizers` raises plain exceptions
        raise UserError(f"{TOKENIZER} cannot be read ({error}).") from error


def _drop_code(path: Path) -> bool:
    """Remove the names of code from a file of settings; return whether there were any."""
    settings = read_object(path)
    if CODE not in settings:
        return False
    write_json(path, {key: value for key, value in settings.items() if key != CODE})
    return True


def _default_template(settings: Mapping[str, Any]) -> str:
    """Return the template called "default" of a tokenizer with several; "" where there is none."""
    templates = settings.get("chat_template")
    if not isinstance(templates, list):
        return ""
    named = {entry.get("name"): entry.get("template") for entry in templates if isinstance(entry, dict)}
    return str(named.get("default") or "")


def _left_behind(source: Path, taken: set[str]) -> list[str]:
    """Return the names of what is not taken, with a reason where there is one to give."""
    named = []
    for path in sorted(source.iterdir()):
        if path.name in taken or path.name.startswith("."):
            continue
        reason = " (a pickle or the like)" if path.suffix in PICKLES else " (code)" if path.suffix == ".py" else ""
        named.append(f"{path.name}{'/' if path.is_dir() else ''}{reason}")
    return named


def _licence(source: Path) -> str:
    """Return the licence that the model card names, or that there is a file of it; "" where neither is."""
    card = source / "README.md"
    if card.is_file():
        head = card.read_text("utf-8", errors="replace")[:MEGABYTE].split("\n---", 1)[0]
        found = CARD_LICENCE.search(head) if head.startswith("---") else None
        if found:
            return found[1]
    files = [path.name for pattern in LICENCES[:2] for path in source.glob(pattern)]
    return f"see {min(files)}" if files else ""
