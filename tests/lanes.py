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

    Kept, for a test with many parameters is one function.
    """
    helpers = helpers_in(inspect.getfile(function))
    found = [inspect.getsource(function)]
    waiting = set(helpers)
    for source in found:  # it grows meanwhile
        named = waiting.intersection(NAME.findall(source))
        waiting -= named
        found += [helpers[name] for name in sorted(named)]
    return found


@cache
def helpers_in(name: str) -> dict[str, str]:
    """The sources of the functions and classes of a file of ours that are neither tests nor fixtures, by their names."""
    path = Path(name)
    if not path.is_relative_to(ROOT / "tests"):
        return {}
    text = path.read_text("utf-8")
    return {
        node.name: ast.get_source_segment(text, node) or ""
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.decorator_list
        and not node.name.startswith("test_")
    }


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
        for name in imports_at_once(file):
            found = file_of(name)
            if found:
                waiting.append(found)
            elif name.partition(".")[0] not in OURS:
                libraries.add(name.partition(".")[0])
    return frozenset(libraries)


@cache
def imports_at_once(path: Path) -> frozenset[str]:
    """Dotted names that a file imports when it is imported itself: not those within a function or behind an `if`."""
    names: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names if node.module.partition(".")[0] in OURS)
    return frozenset(names)


@cache
def file_of(name: str) -> Path | None:
    if name.partition(".")[0] not in OURS:
        return None
    base = ROOT.joinpath(*name.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)
