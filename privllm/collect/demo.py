"""Something to try the build on: the documentation of Python's standard library, as pydoc renders it to HTML.

A few hundred real pages of one domain, made here, without a network and without anybody's data in them. The same
Python gives the same pages, byte for byte. It is for trying things; it measures nothing.
"""

import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path

import privllm.collect.pydoc_pages as pydoc_pages
from privllm.core.cores import available_cores
from privllm.core.errors import UserError
from privllm.core.progress import bar

FOLDER = "demo"  # below data/sources; params.yaml's tasks of the demo name it in their `source`
NAME = re.compile(r"\.?\w+(?:\.\w+)*\.html")  # one that is not finished begins with a dot
TITLE = re.compile(rb"<title>Python: (?:built-in )?(?:module|package) ")  # of every page that pydoc writes of a module
TITLE_BYTES = 1024  # from a page's start, within which its title stands
# They act when imported (a browser opens), differ by machine (`site`, `sysconfig`), or are no documentation (tests, demos).
LEFT_OUT = {
    "antigravity",
    "this",
    "site",
    "sysconfig",
    "sitecustomize",
    "usercustomize",
    "test",
    "tests",
    "idlelib",
    "idle_test",
    "turtledemo",
    "turtle",
}
LEFT_OUT |= {"lib2to3", "ensurepip", "nturl2path", "nt", "ntpath", "winreg", "winsound", "msvcrt", "msilib"}
# A child's whole environment: nothing of this user's, and one order of sets.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "HOME": "/nonexistent", "TZ": "UTC", "LC_ALL": "C.UTF-8", "PATH": "/nonexistent"}


def build_demo(sources: Path) -> int:
    """Write `sources/demo/<module>.html` where they are missing; returns how many pages there are.

    Raises UserError where `sources` holds anything else: the demo must not be mixed into somebody's documents.
    """
    refuse_to_mix(sources)
    folder = sources.resolve() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    render_pages([name for name in modules() if not (folder / f"{name}.html").exists()], folder)
    pages = len(list(folder.glob("[!.]*.html")))
    if not pages:
        raise UserError(
            f"{sys.executable} could not document one module of its standard library: put documents of your own into {sources}."
        )
    return pages


def remove_pages(sources: Path) -> tuple[int, list[Path]]:
    """Remove the pages that `build_demo` wrote; returns how many, and the files beside them, which are somebody's own and stay."""
    folder = sources / FOLDER
    files = sorted(path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    pages = [path for path in files if path.parent == folder and is_page(path)]
    for page in pages:
        page.unlink()
    others = [path for path in files if path not in set(pages)]
    if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
        folder.rmdir()
    return len(pages), others


def is_page(path: Path) -> bool:
    """Is this a page of the demo? By its name and its title, so that nothing of anybody's own is taken for one."""
    if not NAME.fullmatch(path.name) or path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return bool(TITLE.search(file.read(TITLE_BYTES)))


def refuse_to_mix(sources: Path) -> None:
    others = (
        sorted(path.name for path in sources.glob("*") if path.name != FOLDER and not path.name.startswith(".")) if sources.is_dir() else []
    )
    if others:
        raise UserError(
            f"{sources} already holds documents ({', '.join(others[:3])}{', ...' if len(others) > 3 else ''}), and the demo is not mixed "
            "into them: run it where that folder is empty, or go on with your own documents (`dvc repro`)."
        )


def render_pages(names: list[str], folder: Path) -> None:
    """A page for each module that can be imported here; one that cannot, or takes too long, has none."""
    jobs = available_cores()
    command = [sys.executable, "-S", "-P", "-B", pydoc_pages.__file__, str(folder), str(jobs)]
    with (
        bar("demo", total=len(names) or 1) as advance,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd="/") as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write("\n".join(names))
        for _ in process.stdout:
            advance()
    if process.returncode:
        raise UserError(
            f"{sys.executable} could not run pydoc (exit code {process.returncode}): put documents of your own into {folder.parent}."
        )
    for unfinished in folder.glob(".*.html"):
        unfinished.unlink()


def modules() -> list[str]:
    """Every public module of the standard library by its dotted name, in order; found on disk, none imported."""
    tops = sorted(name for name in sys.stdlib_module_names if is_public(name))
    return [dotted for top in tops for dotted in _below(top, None)]


def _below(dotted: str, places: list[str] | None) -> Iterator[str]:
    spec = PathFinder.find_spec(dotted, places)
    if spec is None and dotted not in sys.builtin_module_names:
        return
    yield dotted
    inside = list(spec.submodule_search_locations or []) if spec else []
    for name in sorted(module.name for module in pkgutil.iter_modules(inside)):
        if is_public(name):
            yield from _below(f"{dotted}.{name}", inside)


def is_public(name: str) -> bool:
    return not name.startswith("_") and name not in LEFT_OUT
