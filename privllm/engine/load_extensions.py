"""Import of extensions: what their dicts hold, with the place of each entry, for the stages and commands that use them.

It works in any process of a stage: forked, started afresh, or of a Ray cluster. Whatever is wrong
is a UserError with file and line. What an entry must be like, its room says.
"""

import importlib
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from privllm.core.errors import UserError
from privllm.engine.extensions import KINDS, Extension, Extensions, read_extension
from privllm.engine.fingerprint import require_fingerprinted_extensions
from privllm.engine.import_guard import EXTENSIONS, find_extensions


class Entry(NamedTuple):
    """An entry of an extension's dict."""

    value: Any
    name: str
    place: str  # "extensions/house.py, line 3"

    def require(self, condition: bool, fault: str) -> None:
        """Raise UserError unless `condition`; `fault` ends the sentence "`name` ..."."""
        if not condition:
            raise UserError(f"{self.place}: `{self.name}` {fault}.")

    @contextmanager
    def blamed(self, subject: str) -> Iterator[None]:
        """Raise what the entry's code raises within as a UserError that names the line; `subject` says on what it failed."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            place = _place_of(error) or self.place
            raise UserError(f"{place}: `{self.name}` failed on {subject}: {_described(error)}.") from error


def entries_of(kind: str, extensions: Extensions) -> dict[str, Entry]:
    """Return the entries of the dicts `kind` in these modules, in their order.

    In a stage the code that was loaded is compared with the stage's fingerprint. Raises UserError
    where a module cannot be imported, or holds something else than is written in it.
    """
    entries = _entries_of(kind, extensions.modules, Path.cwd())
    if extensions.stage and extensions.modules:
        require_fingerprinted_extensions(extensions)
    return entries


@cache
def _entries_of(kind: str, modules: tuple[str, ...], root: Path) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for module in modules:
        extension = read_extension(f"{module.replace('.', '/')}.py", root)
        if kind in extension.names:
            entries |= _load(extension, kind, root)
    return entries


def _load(extension: Extension, kind: str, root: Path) -> dict[str, Entry]:
    """Return the entries of one dict of an extension, which is imported for it."""
    find_extensions(root)
    try:
        loaded = importlib.import_module(extension.module)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        place = _place_of(error) or extension.path
        raise UserError(f"{place}: this extension cannot be imported: {_described(error)}.") from error
    held = vars(loaded)
    written = extension.names[kind]
    if list(held.get(kind, {})) != list(written):
        line = extension.lines[kind]
        raise UserError(
            f"{extension.path}, line {line}: `{kind}` holds other names than are written there; change it nowhere else."
        )
    hidden = [other for other in KINDS if other in held and other not in extension.names]
    if hidden:
        raise UserError(
            f"{extension.path}: `{hidden[0]}` must be assigned at the top level, as a dict that is written out."
        )
    return {name: Entry(held[kind][name], name, extension.place(kind, name)) for name in written}


def _described(error: BaseException) -> str:
    """Return "ValueError: its text", on one line and without a full stop."""
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _place_of(error: BaseException) -> str:
    """Return the last line of an extension that an error passed, "" where it passed none."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        places.append((error.filename or "", error.lineno))
    root = Path.cwd()
    for file, line in reversed(places):
        if Path(file).is_relative_to(root / EXTENSIONS):
            return f"{Path(file).relative_to(root).as_posix()}, line {line}"
    return ""
