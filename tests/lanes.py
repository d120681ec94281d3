"""To which lanes a test belongs, read off its code, so that nobody has to remember a marker.

`torch`     its module, a conftest.py above it, or a fixture's module imports torch: it cannot run where torch is not installed.
`training`  its module can train: it imports Lightning.
`build`     it, a fixture of its, or what they call in their modules makes a workshop (`tests/workshop.py`), where DVC builds. A whole
            one trains, and so needs torch.

What a test imports in its own body is not seen: such a test says `@pytest.mark.torch` itself.
"""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
NAME = re.compile(r"\w+")
OURS = {"privllm", "stages", "tests", "docs", "benchmarks"}


def lanes_of(item: pytest.Function) -> set[str]:
    """Return the markers that a collected test gets."""
    functions = [inspect.unwrap(item.function), *fixtures_of(item)]  # decorators of torch lie in its files
    libraries = set().union(*(imported_with(inspect.getfile(function)) for function in functions))
    lanes = set()
    if "torch" in libraries:
        lanes.add("torch")
    if "lightning" in libraries:
        lanes.add("training")
    sources = [source for function in functions for source in sources_with(function)]
    if any("Workshop(" in source or "make_workshop(" in source for source in sources):
        lanes.add("build")
    if any("make_workshop(" in source for source in sources):
        lanes.add("torch")
    return lanes


def fixtures_of(item: pytest.Function) -> Iterator[Callable[..., object]]:
    """The functions behind the fixtures of a test, those that other fixtures need included."""
    for definitions in item._fixtureinfo.name2fixturedefs.values():
        yield from (inspect.unwrap(definition.func) for definition in definitions)


@cache
def sources_with(function: Callable[..., object]) -> list[str]:
    """The source of a test or fixture, and of the functions and classes of its module that it names, or that these name.

    Kept, for a test with many parameters is one function. None for a fixture of pytest's.
    """
    file = Path(inspect.getfile(function))
    if not file.is_relative_to(ROOT / "tests"):
        return []
    parsed = parsed_file(file)
    found = [parsed.sources[function.__code__.co_firstlineno]]
    waiting = set(parsed.helpers)
    for source in found:  # it grows meanwhile
        named = waiting.intersection(NAME.findall(source))
        waiting -= named
        found += [parsed.helpers[name] for name in sorted(named)]
    return found


class ParsedFile(NamedTuple):
    """What is asked of a file of ours; its syntax tree, a million objects for all files, would slow down Python's garbage collector."""

    imports: frozenset[
        str
    ]  # dotted names that it imports when it is imported itself: not those within a function or behind an `if`
    sources: dict[
        int, str
    ]  # of its functions, classes and methods, by the lines on which they begin, decorators included
    helpers: dict[str, str]  # the sources of functions and classes that are neither tests nor fixtures, by their names


@cache
def parsed_file(path: Path) -> ParsedFile:
    text = path.read_text("utf-8")
    lines = text.splitlines(keepends=True)
    module = ast.parse(text)
    sources, helpers = {}, {}
    for node in definitions_in(module):
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        sources[first] = "".join(lines[first - 1 : node.end_lineno])
        if node in module.body and not node.decorator_list and not node.name.startswith("test_"):
            helpers[node.name] = sources[first]
    return ParsedFile(frozenset(imports_in(module)), sources, helpers)


def definitions_in(node: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """The functions and classes of a module, and those within its classes."""
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield child
        if isinstance(child, ast.ClassDef):
            yield from definitions_in(child)


def imports_in(module: ast.Module) -> Iterator[str]:
    for node in module.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module.partition(".")[0] in OURS:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def imported_with(name: str) -> frozenset[str]:
    """The libraries that are imported before a test in this file can run; none for a file that is not ours (a fixture of pytest's)."""
    path = Path(name)
    if not path.is_relative_to(ROOT / "tests"):
        return frozenset()
    above = [folder / "conftest.py" for folder in path.parents if folder.is_relative_to(ROOT / "tests")]
    files = [path, *(file for file in above if file.is_file())]
    return frozenset().union(*(libraries_of(file) for file in files))


@cache
def libraries_of(path: Path) -> frozenset[str]:
    """The top-level names of all libraries that importing a file of ours imports, through other modules of ours."""
    libraries: set[str] = set()
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        for name in parsed_file(file).imports:
            found = file_of(name)
            if found:
                waiting.append(found)
            elif name.partition(".")[0] not in OURS:
                libraries.add(name.partition(".")[0])
    return frozenset(libraries)


@cache
def file_of(name: str) -> Path | None:
    if name.partition(".")[0] not in OURS:
        return None
    base = ROOT.joinpath(*name.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)
