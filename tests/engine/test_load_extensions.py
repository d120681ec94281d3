"""What extensions hold is loaded in every process of a stage, as it was hashed; a broken one is named with its line."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from privllm.clean.own_rules import own_fault_of
from privllm.core.errors import UserError
from privllm.engine.extensions import Extensions
from privllm.engine.fingerprint import check_fingerprint, extensions_of, require_fingerprinted
from privllm.engine.import_guard import require_hashed_code
from privllm.engine.load_extensions import entries_of
from tests.extend import Extended, forget_extensions, make_extended

HOUSE = """from extensions.shared import WORD


def secret(text, language):
    return WORD if WORD in text else None


QUALITY_RULES = {"secret": secret}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Extended:
    """With one stage, whose fingerprint names the extension and what it imports."""
    project = make_extended(tmp_path / "project", monkeypatch)
    project.write("stages/clean.py", "", listed=False)
    project.write("stages/pack.py", "", listed=False)
    project.write("requirements.lock", "", listed=False)
    project.write("extensions/shared.py", 'WORD = "secret"\n', listed=False)
    project.write("extensions/house.py", HOUSE)
    project.fingerprint()
    return project


@pytest.mark.slow
def test_entries_have_their_place(project: Extended) -> None:
    (entry,) = entries_of("QUALITY_RULES", extensions_of("clean")).values()
    assert (entry.name, entry.place) == ("secret", "extensions/house.py, line 8")
    assert entry.value("a secret", "en") == "secret"
    assert entries_of("READERS", extensions_of("clean")) == {}
    require_hashed_code(Path())
    require_fingerprinted("clean")


@pytest.mark.parametrize("start", ["fork", "forkserver", "spawn"])
def test_workers_have_them_too(project: Extended, start: str) -> None:
    """However a worker process is started; a Ray worker works in the root of the project as well."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(start)) as pool:
        assert pool.submit(own_fault_of, extensions_of("clean"), "a secret", "en").result() == ("secret", "secret")


@pytest.mark.parametrize("path", ["extensions/house.py", "extensions/shared.py"])
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_an_edit_meanwhile_is_refused(project: Extended, path: str, start: str) -> None:
    """A worker imports it later than the stage has checked it."""
    file = project.root / path
    file.write_text(f"{file.read_text()}MORE = 1\n")
    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(start)) as pool,
        pytest.raises(
            UserError, match=r"`extensions\..*` was imported while clean ran, and its fingerprint names other code"
        ),
    ):
        pool.submit(own_fault_of, extensions_of("clean"), "a secret", "en").result()
    with pytest.raises(UserError, match=r"is not the code that .*clean.json was made from"):
        check_fingerprint("clean")
    check_fingerprint("pack")


def test_extensions_of_another_stage_may_be_loaded_too(project: Extended) -> None:
    """An audit runs all stages in one process; a stage of a build has its own, and is stricter."""
    project.write("stages/collect.py", "", listed=False)
    project.write("extensions/mail.py", "READERS = {}\n")
    project.fingerprint()
    entries_of("READERS", extensions_of("collect"))
    assert entries_of("QUALITY_RULES", extensions_of("clean"))
    with pytest.raises(UserError, match=r"`extensions.mail` was imported while clean ran"):
        require_fingerprinted("clean")


def test_a_fingerprint_of_another_version_is_named(project: Extended) -> None:
    (project.root / "data/fingerprint/clean.json").write_text('{"python": "3.11", "modules": {}, "libraries": {}}')
    with pytest.raises(UserError, match="written by another version of this code: run `dvc repro clean`"):
        check_fingerprint("clean")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "import nothing_here\nREADERS = {}\n",
            r"house.py, line 1: .* ModuleNotFoundError: No module named 'nothing_here'",
        ),
        ("READERS = {}\n\n1 / 0\n", r"house.py, line 3: .* ZeroDivisionError"),
        ("READERS = {}\nraise SystemExit(0)\n", r"house.py, line 2: .* SystemExit: 0"),
        ("import extensions.shared\nREADERS = {}\n", r"extensions/shared.py, line 2: .* SyntaxError"),
        ("READERS = {'a': 1}\nREADERS.clear()\n", r"house.py, line 1: `READERS` holds other names than are written"),
        (
            "READERS = {}\nglobals()['EXPECTATIONS'] = {}\n",
            r"house.py: `EXPECTATIONS` must be assigned at the top level",
        ),
    ],
)
def test_a_module_that_cannot_be_imported_is_named_with_its_line(project: Extended, code: str, said: str) -> None:
    project.write("extensions/house.py", code)
    project.write("extensions/shared.py", "x = 1\ny = (\n", listed=False)
    with pytest.raises(UserError, match=said):
        entries_of("READERS", Extensions("", ("extensions.house",)))


def test_what_fails_later_is_named_with_the_last_line_of_an_extension(project: Extended) -> None:
    project.write("extensions/shared.py", 'WORD = "secret"\n\n\ndef deep():\n    return int("x")\n', listed=False)
    project.write(
        "extensions/house.py", f"from extensions.shared import deep\n{HOUSE.replace('WORD if WORD', 'deep() if WORD')}"
    )
    with pytest.raises(UserError, match=r"extensions/shared.py, line 5: `secret` failed on a document: ValueError: "):
        own_fault_of(Extensions("", ("extensions.house",)), "a secret", "en")


def test_bytecode_is_neither_read_nor_written(project: Extended, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    entries_of("QUALITY_RULES", extensions_of("clean"))
    assert not list(project.root.rglob("__pycache__"))
    forget_extensions(monkeypatch)
