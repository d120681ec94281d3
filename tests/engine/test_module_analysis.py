"""The meaning of a module does not depend on comments, docstrings and layout; each definition has a hash of its own."""

from pathlib import Path

import pytest

from privllm.engine.module_analysis import analyse, imports_of


def meaning(path: Path) -> str:
    return analyse(path, path.stem).meaning


def test_docstring_only_function_still_parses(tmp_path: Path) -> None:
    path = tmp_path / "m.py"
    path.write_text('def f():\n    """Only words."""\n')
    with_words = meaning(path)
    path.write_text("def f():\n    pass\n")
    assert meaning(path) == with_words


SYMBOLS = """
LIMIT = 1
def plain(x): return x
async def later(): ...
class Box:
    size = 1
    @property
    def value(self): return 1
    @value.setter
    def value(self, new): ...
    class Lid:
        def lift(self): ...
"""


def symbols(folder: Path, text: str) -> dict[str, str]:
    (folder / "m.py").write_text(text)
    return analyse(folder / "m.py", "m").symbols


def test_symbols_are_functions_classes_methods_and_the_rest(tmp_path: Path) -> None:
    assert set(symbols(tmp_path, SYMBOLS)) == {
        "<module>",
        "plain",
        "later",
        "Box",
        "Box.value",
        "Box.Lid",
        "Box.Lid.lift",
    }


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("LIMIT = 1", "LIMIT = 2", {"<module>"}),
        ("return x", "return -x", {"plain"}),
        ("size = 1", "size = 2", {"Box"}),
        ("return 1", "return 2", {"Box.value"}),
        ("new): ...", "new): pass", {"Box.value"}),
        ("lift(self): ...", "lift(self): return 1", {"Box.Lid.lift"}),
        ("class Box:", "class Box(dict):", {"Box"}),
        (
            "def plain(x): return x\nasync def later(): ...",
            "async def later(): ...\ndef plain(x): return x",
            {"<module>"},
        ),
        ("LIMIT", "# why\nLIMIT", set()),
        ("def plain(x): return x", 'def plain(x):\n    """Words."""\n    return x', set()),
    ],
)
def test_an_edit_changes_its_symbol_and_with_it_the_module(
    tmp_path: Path, old: str, new: str, changed: set[str]
) -> None:
    assert old in SYMBOLS
    before, module = symbols(tmp_path, SYMBOLS), meaning(tmp_path / "m.py")
    after = symbols(tmp_path, SYMBOLS.replace(old, new))
    assert {name for name in before if before[name] != after[name]} == changed
    assert (meaning(tmp_path / "m.py") != module) == bool(changed)


def test_relative_imports_are_resolved_and_ours_named_in_full(tmp_path: Path) -> None:
    path = tmp_path / "two.py"
    path.write_text(
        "from .three.deep import helper\nfrom .. import stages\nimport numpy.linalg as la\nfrom json import loads\n"
    )
    assert imports_of(path, "privllm.core.two") == {
        "privllm.core.three.deep", "privllm.core.three.deep.helper", "privllm", "privllm.stages", "numpy.linalg", "json",
    }  # fmt: skip
