"""A demo corpus: the documentation of Python's standard library, as pydoc renders it to HTML.

It is a few hundred real pages of one domain, made on this machine without a network, and without
personal data. The same Python gives the same pages, byte for byte. It is for trying the build; it
is no benchmark.
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
NAME = re.compile(r"\.?\w+(?:\.\w+)*\.html")  # an unfinished one begins with a dot
TITLE = re.compile(rb"<title>Python: (?:built-in )?(?:module|package) ")  # of every page of a module
TITLE_BYTES = 1024  # from a page's start, within which its title stands
# They act when imported (a browser opens), differ by machine (`site`, `sysconfig`), or are no
# documentation (tests, demos).
EXCLUDED = {
    *("antigravity", "this", "site", "sysconfig", "sitecustomize", "usercustomize"),
    *("test", "tests", "idlelib", "idle_test", "turtledemo", "turtle"),
    *("lib2to3", "ensurepip", "nturl2path", "nt", "ntpath", "winreg", "winsound", "msvcrt", "msilib"),
}
# The whole environment of a child process: nothing of the user's, and one order of sets.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "HOME": "/nonexistent", "TZ": "UTC", "LC_ALL": "C.UTF-8", "PATH": "/nonexistent"}


def build_demo(sources: Path) -> int:
    """Write the missing pages `sources/demo/<module>.html`; return the number of all pages.

    Raises UserError where `sources` holds anything else: the demo must not be mixed with a user's
    documents.
    """
    refuse_to_mix(sources)
    folder = sources.resolve() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in modules() if not (folder / f"{name}.html").exists()]
    render_pages(missing, folder)
    page_count = len(list(folder.glob("[!.]*.html")))
    if not page_count:
        raise UserError(
            f"{sys.executable} could not document one module of its standard library: put documents of your own into {sources}."
        )
    return page_count


def remove_pages(sources: Path) -> tuple[int, list[Path]]:
    """Remove the pages of `build_demo`; return their number, and the user's files, which stay."""
    folder = sources / FOLDER
    files = sorted(path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    pages = [path for path in files if path.parent == folder and is_page(path)]
    for page in pages:
        page.unlink()
    user_files = sorted(set(files) - set(pages))
    is_own_folder = folder.is_dir() and not folder.is_symlink()
    if is_own_folder and not any(folder.iterdir()):
        folder.rmdir()
    return len(pages), user_files


def is_page(path: Path) -> bool:
    """Return whether a file is a page of the demo, by its name and its title."""
    if not NAME.fullmatch(path.name) or path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return bool(TITLE.search(file.read(TITLE_BYTES)))


def refuse_to_mix(sources: Path) -> None:
    """Raise UserError where `sources` holds anything but the demo."""
    if not sources.is_dir():
        return
    names = sorted(path.name for path in sources.iterdir())
    documents = [name for name in names if name != FOLDER and not name.startswith(".")]
    if documents:
        examples = ", ".join(documents[:3]) + (", ..." if len(documents) > 3 else "")
        raise UserError(
            f"{sources} already holds documents ({examples}), and the demo is not mixed with them: "
            "run it where that folder is empty, or go on with your own documents (`dvc repro`)."
        )


def render_pages(names: list[str], folder: Path) -> None:
    """Write a page for each module that can be imported here in time."""
    jobs = available_cores()
    command = [sys.executable, "-S", "-P", "-B", pydoc_pages.__file__, str(folder), str(jobs)]
    with (
        bar("demo", total=len(names) or 1) as advance,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
            cwd="/",
        ) as process,
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
    """Return the sorted names of the public modules of the standard library; import none."""
    top_levels = sorted(name for name in sys.stdlib_module_names if is_public(name))
    return [dotted for name in top_levels for dotted in _modules_below(name, None)]


def _modules_below(dotted: str, search_path: list[str] | None) -> Iterator[str]:
    """Yield the module `dotted` and its public submodules, sorted."""
    spec = PathFinder.find_spec(dotted, search_path)
    if spec is None and dotted not in sys.builtin_module_names:
        return
    yield dotted
    folders = list(spec.submodule_search_locations or []) if spec else []
    for name in sorted(module.name for module in pkgutil.iter_modules(folders)):
        if is_public(name):
            yield from _modules_below(f"{dotted}.{name}", folders)


def is_public(name: str) -> bool:
    """Return whether a module is documented in the demo."""
    return not name.startswith("_") and name not in EXCLUDED
