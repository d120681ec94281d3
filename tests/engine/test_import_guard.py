"""What runs in a stage is what was hashed, whatever lies in Python's way."""

import importlib.util
import os
import py_compile
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from privllm.core.errors import UserError
from privllm.core.work_paths import CHECKPOINTS
from privllm.engine.import_guard import (
    file_of,
    package_folder,
    require_libraries_of_the_environment,
    require_no_shadows,
)
from tests.workshop import ROOT, environment

pytestmark = pytest.mark.slow

START = "python -m stages.start data/promoted/model data/base data/replay data/start reports/start.json"


class Repository:
    """The code of this repository in a folder of its own, with its fingerprints."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("privllm", "stages"):
            shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("params.yaml", "dvc.yaml", "requirements.lock"):
            shutil.copyfile(ROOT / name, root / name)
        for folder in ("data/promoted/model", "data/base", "data/replay"):
            (root / folder).mkdir(parents=True)
        self.fingerprint()

    def fingerprint(self) -> None:
        assert not self.run("python -m stages.fingerprint data/fingerprint reports/fingerprint.json").returncode

    def run(self, command: str = START, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command.split(), cwd=self.root, env=environment(**more), capture_output=True, text=True, timeout=120
        )

    def refuses(self, *words: str, command: str = START, **more: str) -> None:
        done = self.run(command, **more)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        for word in words:
            assert word in done.stderr, done.stderr

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def stale_bytecode(self, name: str, text: str) -> None:
        """Bytecode of another text, of which size and time say that it is the file's own."""
        path = self.root / name
        held, status = path.read_text(), path.stat()
        path.write_text(text + "#" * (status.st_size - len(text)))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        py_compile.compile(str(path), doraise=True)
        path.write_text(held)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(tmp_path_factory.mktemp("original") / "repo")


@pytest.fixture
def repository(original: Repository, tmp_path: Path) -> Repository:
    copy = Repository.__new__(Repository)
    copy.root = tmp_path / "repo"
    shutil.copytree(original.root, copy.root)
    return copy


def test_a_stage_runs_as_it_was_hashed(repository: Repository) -> None:
    done = repository.run()
    assert not done.returncode, done.stderr


@pytest.mark.parametrize("name", ["numpy.py", "yaml/__init__.py", "json.py", "pyarrow.so", "tokenizers.pyc"])
def test_a_file_named_like_a_library_is_refused_by_name(repository: Repository, name: str) -> None:
    path = repository.write(name, "raise SystemExit(7)")
    repository.refuses(name.split("/")[0], "rename it")
    path.unlink()
    assert not repository.run().returncode


def test_folders_and_files_that_hide_no_library_are_people_s_own(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()  # without __init__.py it never goes before the library
    (tmp_path / "numpy.txt").touch()
    (tmp_path / "mine.py").touch()
    require_no_shadows(tmp_path, {"datasets", "numpy"})
    (tmp_path / "datasets/__init__.py").touch()
    with pytest.raises(UserError, match="datasets"):
        require_no_shadows(tmp_path, {"datasets", "numpy"})


def test_stale_bytecode_does_not_run(repository: Repository) -> None:
    repository.stale_bytecode("privllm/core/seed.py", "raise SystemExit(7)\n")
    unguarded = subprocess.run(
        ["python", "-c", "import privllm.core.seed"], cwd=repository.root, env=environment(), capture_output=True
    )
    assert unguarded.returncode == 7, "Python itself no longer takes it, so this tests nothing"
    assert not repository.run().returncode


def test_stale_bytecode_of_the_guard_itself_is_refused(repository: Repository) -> None:
    repository.stale_bytecode("stages/__init__.py", "import os\n")
    repository.refuses("stages/__init__.py", "bytecode")


def test_another_clone_that_python_finds_first_is_refused(repository: Repository, original: Repository) -> None:
    repository.refuses(str(original.root), str(repository.root), PYTHONSAFEPATH="1", PYTHONPATH=str(original.root))


def test_a_module_beside_a_package_of_its_name_is_refused(repository: Repository) -> None:
    repository.write("privllm/core/seed/__init__.py", "")
    repository.refuses("privllm/core/seed.py", "privllm/core/seed/__init__.py")


@pytest.mark.parametrize("name", ["privllm.py", "stages.py"])
def test_a_file_named_like_one_of_our_packages_is_refused_in_one_paragraph(repository: Repository, name: str) -> None:
    repository.write(name, "x = 1")
    repository.refuses(name)


def test_a_module_beside_a_package_is_refused_wherever_it_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "privllm/x").mkdir(parents=True)
    (tmp_path / "privllm/__init__.py").touch()
    (tmp_path / "privllm/x.py").touch()
    # Python takes the file before a folder that is no package
    assert file_of(tmp_path, "privllm.x") == tmp_path / "privllm/x.py"
    (tmp_path / "privllm/x/__init__.py").touch()
    with pytest.raises(UserError, match="two modules"):
        file_of(tmp_path, "privllm.x")


def test_in_a_project_the_package_is_the_installed_one_and_stages_are_the_projects(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/own.py").touch()
    assert file_of(tmp_path, "privllm.core.seed") == ROOT / "privllm/core/seed.py"
    assert file_of(tmp_path, "stages.own") == tmp_path / "stages/own.py"
    assert file_of(tmp_path, "stages.collect") is None
    (tmp_path / "privllm").mkdir()  # a folder of documents, perhaps
    assert package_folder(tmp_path) == ROOT
    (tmp_path / "privllm/__init__.py").touch()
    assert package_folder(tmp_path) == tmp_path


def test_a_library_from_pythonpath_is_not_taken(repository: Repository) -> None:
    repository.write("elsewhere/yaml.py", "raise SystemExit(7)")
    assert not repository.run(PYTHONPATH=str(repository.root / "elsewhere")).returncode


def test_a_library_that_was_loaded_from_pythonpath_before_is_refused(repository: Repository) -> None:
    repository.write("elsewhere/sitecustomize.py", "import helper")
    repository.write("elsewhere/helper.py", "")
    repository.refuses("helper", "PYTHONPATH", PYTHONPATH=str(repository.root / "elsewhere"))
    assert not (repository.root / "data/start").exists(), "it must be refused before it can reach the store"


def test_code_that_is_edited_before_it_is_imported_is_refused(repository: Repository) -> None:
    late = repository.write("privllm/late.py", "NUMBER = 1\n")
    repository.write(
        "stages/lazy.py",
        f"from pathlib import Path\nfrom privllm.engine.stage import run\n\n\ndef main(out: Path) -> None:\n"
        f"    Path({str(late)!r}).write_text('NUMBER = 2')\n    from privllm.late import NUMBER\n\n\nrun(main)\n",
    )
    repository.fingerprint()
    repository.refuses("privllm.late", "dvc repro --force fingerprint", command="python -m stages.lazy out")


def test_a_module_that_the_fingerprint_did_not_see_is_refused(repository: Repository) -> None:
    repository.write("privllm/late.py", "")
    repository.write(
        "stages/lazy.py",
        "import importlib\nfrom pathlib import Path\nfrom privllm.engine.stage import run\n\n\ndef main(out: Path) -> None:\n"
        "    importlib.import_module('privllm.late')\n\n\nrun(main)\n",
    )
    repository.fingerprint()
    repository.refuses("privllm.late", command="python -m stages.lazy out")


def test_worker_processes_load_what_the_stage_would(repository: Repository) -> None:
    repository.write("privllm/probe.py", "def loader(job):\n    return __name__, type(__spec__.loader).__name__\n")
    repository.write(
        "stages/forked.py",
        "from pathlib import Path\nimport rensa\nfrom privllm.engine.executor import map_shards\nfrom privllm.engine.stage import run\n"
        "from privllm.probe import loader\n\n\ndef main(out: Path) -> None:\n"
        "    out.write_text(str(set(map_shards(loader, [(i,) for i in range(40)], 'probe', 0))))\n\n\n"
        "if __name__ == '__main__':\n    run(main)\n",
    )
    repository.fingerprint()
    done = repository.run("python -m stages.forked out.txt")
    assert not done.returncode, done.stderr
    assert (repository.root / "out.txt").read_text() == "{('privllm.probe', 'SourceOnlyLoader')}"


def test_the_guard_leaves_other_processes_alone() -> None:
    """Tests and `privllm audit` import stages too."""
    code = "import sys, stages, privllm.core.seed as seed; print(type(seed.__spec__.loader).__name__, '' in sys.path)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True)
    assert done.stdout.split() == ["SourceFileLoader", "True"], done.stderr
    assert importlib.util.find_spec("stages")


def kernel_at(folder: Path) -> ModuleType:
    """Return a module as Triton loads one that it has compiled."""
    module = ModuleType("compiled_kernel")
    file = folder / f"compiled_kernel{EXTENSION_SUFFIXES[0]}"
    module.__spec__ = ModuleSpec("compiled_kernel", ExtensionFileLoader("compiled_kernel", str(file)), origin=str(file))
    return module


def test_kernels_of_a_training_are_no_foreign_libraries(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "compiled_kernel", kernel_at((CHECKPOINTS / "pretrain/compiled/triton").resolve()))
    require_libraries_of_the_environment()


@pytest.mark.parametrize("folder", [".triton/cache", "elsewhere/compiled", CHECKPOINTS / "pretrain/causal"])
def test_kernels_from_elsewhere_are_refused(tmp_path, monkeypatch, folder) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "compiled_kernel", kernel_at((tmp_path / folder).resolve()))
    with pytest.raises(UserError, match="compiled_kernel"):
        require_libraries_of_the_environment()
