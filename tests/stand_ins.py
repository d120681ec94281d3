"""A small repository in which a stage runs in a third of a second: our dvc.yaml, params.yaml, stages, core and engine, and stand-ins.

What a stage file imports from another room is a stand-in there: a function that works on one shard, through the store it is
given; a configuration that takes whatever params.yaml says. What it does besides, and where it dies, the variable ORDERS says.
"""

import ast
import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from privllm.core.base_model import INCUMBENT
from privllm.core.promoted import MANIFEST, MODEL
from privllm.engine.cache import Cache
from privllm.engine.fingerprint import FOLDER
from privllm.engine.pipeline import declared_stages, outputs_of
from tests.workshop import ROOT, environment

VERDICT = "data/validate/verdict.json"
LISTS = (
    "data/collect/quarantine/quarantine.txt",
    "data/clean/dropped/dropped.txt",
    "data/clean/flagged.txt",
)  # of what was left out or flagged, which their stages tell of
INPUT, SHARD = "input", "00000"  # names of what lies in each folder that a stage reads, and of what a stand-in writes
HALF, WHOLE = 2_000, 5_000  # bytes that a process may write before it is killed, and of all that it writes
PASSING = re.compile(r"\.scratch/|\.partial$|\.[0-9a-f]{16}$")
STAND_IN = '''
"""What stands in for a function of the library."""

import json
import os
import resource
import signal
import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict

from privllm.engine.store import Store

warnings.filterwarnings("ignore", "Class .* subclasses `Dict`")
ORDERS = json.loads(os.environ["ORDERS"])


@dataclass(init=False)
class Anything(Dict[str, Any]):
    """A configuration of whatever params.yaml says, or what a stage makes of its paths."""

    def __init__(self, *given, **named):
        super().__init__(named)


def work(*given, **named):
    """Do what ORDERS says; returns a report, in which whatever is looked for is nothing."""
    Path("called").touch()
    if path := ORDERS.get("touch"):
        Path(path).write_text("edited meanwhile")
    stores = [part for part in given if isinstance(part, Store)]
    for store in stores:
        store.map(stretch, [(Path(ORDERS["source"]),)], Path(ORDERS["out"]), "stand-in")
    # Else it only asks or says what params.yaml has, or reads something, and works later.
    if stores or (not ORDERS["stores"] and any(not isinstance(part, (list, dict)) for part in given)):
        die_if("report")
    return defaultdict(lambda: defaultdict(dict), padding="r" * WHOLE)


def stretch(out, source):
    """A job: one file, made of what lies in `source`."""
    die_if("shard")
    (out / SHARD).write_text((source.read_text() * WHOLE)[:WHOLE])


def die_if(moment):
    """From here on this process is killed in the middle of a long write, if this is the moment that ORDERS names."""
    if ORDERS.get("dies_in") == moment:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, HALF))
'''
# `fingerprint` calls nothing but the engine, so its orders are carried out where it has begun.
FINGERPRINT = """
import runpy
import sys
import privllm.engine.leftovers
from privllm.stand_in import work
privllm.engine.leftovers.remove_leftovers = work
sys.argv = ["fingerprint", *sys.argv[1:]]
runpy.run_module("stages.fingerprint", run_name="__main__", alter_sys=True)
"""


def make_small_repository(root: Path) -> dict[str, "Wired"]:
    """Its stages by the name of their file; of those with an item, the first."""
    for path in [ROOT / name for name in ("dvc.yaml", "params.yaml", "requirements.lock")] + [
        *(ROOT / "stages").glob("*.py")
    ]:
        copy(path, root)
    for path in [*(ROOT / "privllm/core").glob("*.py"), *(ROOT / "privllm/engine").glob("*.py")]:
        copy(path, root)
    (root / "privllm/__init__.py").touch()
    write(root / "privllm/stand_in.py", f"{STAND_IN}\n\nHALF, WHOLE, SHARD = {HALF}, {WHOLE}, {SHARD!r}\n")
    for module, names in wanted_of_the_library().items():
        path = root / f"{module.replace('.', '/')}.py"
        write(path, stand_in(module, names))
        path.with_name("__init__.py").touch()
    write(root / ".dvc/config", "[cache]\n    type = copy\n")
    stages: dict[str, Wired] = {}
    for name, declared in declared_stages(root).items():
        stage = name.partition("@")[0]
        stages.setdefault(stage, Wired(root, stage, declared))
        make_inputs(root, declared)
    for name in LISTS:
        write(root / name, "")
    (root / "reports/metrics/evaluate").mkdir(parents=True)
    (root / "reports/metrics/finetune").mkdir()
    write(root / MODEL / INCUMBENT / MANIFEST, "{}")  # or `gate` would have nothing to do
    assert stages["fingerprint"].run().returncode == 0
    return stages


def copy(path: Path, root: Path) -> None:
    target = root / path.relative_to(ROOT)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def make_inputs(root: Path, declared: dict[str, Any]) -> None:
    """Something at every path that a stage depends on, but for what `fingerprint` makes and reads."""
    for dep in declared["deps"]:
        path = root / dep
        if path.exists() or path.is_relative_to(root / FOLDER):
            continue
        if path.suffix:
            write(path, json.dumps({"passed": True}))
        else:
            write(path / INPUT, dep)


def wanted_of_the_library() -> dict[str, set[str]]:
    """{module of another room than core and engine: names that stage files import from it}, wherever the `import` stands."""
    wanted = defaultdict(set)
    for path in (ROOT / "stages").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            module = (isinstance(node, ast.ImportFrom) and node.module) or ""
            if module.startswith("privllm.") and not module.startswith(("privllm.core.", "privllm.engine.")):
                wanted[module] |= {alias.name for alias in node.names}
    return wanted


def stand_in(module: str, names: set[str]) -> str:
    """A module that has these names: classes of anything, constants as ours, functions that do what ORDERS says."""
    ours = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text("utf-8"))
    lines = [f'"""Stands in for {module}."""', "", "from privllm.stand_in import Anything, work", ""]
    for name in sorted(names):
        if name.isupper():
            lines += [
                ast.unparse(node)
                for node in ours.body
                if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
            ]
        elif name[0].isupper():
            lines.append(f"class {name}(Anything): ...")
        else:
            lines.append(f"{name} = work")
    return "\n".join(lines) + "\n"


class Wired(NamedTuple):
    """One stage of the small repository."""

    root: Path
    stage: str  # the file in stages/
    declared: dict[str, Any]  # in dvc.yaml

    @property
    def report(self) -> Path:
        """None of `report`, whose output is the page."""
        reports = [
            path
            for path in outputs_of(self.declared)
            if path.endswith(".json") and not path.startswith("reports/metrics/")
        ]
        return self.root / next(iter(reports), "")

    @property
    def shard(self) -> Path:
        """What the stand-in writes."""
        return self.root / self.declared["outs"][0] / SHARD

    @property
    def cache(self) -> Cache:
        return Cache(self.root / ".dvc/cache")

    def forget(self) -> None:
        """Make it as if no stage had ever run."""
        self.shard.unlink(missing_ok=True)
        shutil.rmtree(self.cache.folder, ignore_errors=True)

    def called(self) -> bool:
        """Whether the last run has called a stand-in."""
        return (self.root / "called").exists()

    def run(self, **orders: str) -> subprocess.CompletedProcess[str]:
        """Run the command of dvc.yaml."""
        (self.root / "called").unlink(missing_ok=True)
        source = next(path for path in map(self.root.joinpath, self.declared["deps"]) if path.exists())
        source = source / INPUT if source.is_dir() else source
        orders |= {"source": str(source.relative_to(self.root)), "out": self.declared["outs"][0]}
        takes_store = "store: Store" in (self.root / f"stages/{self.stage}.py").read_text("utf-8")
        command = self.declared["cmd"].split()
        if self.stage == "fingerprint":
            command = [sys.executable, "-c", FINGERPRINT, *command[3:]]
        return subprocess.run(
            command,
            cwd=self.root,
            env=environment(ORDERS=json.dumps(orders | {"stores": takes_store})),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def files_of_half(self) -> tuple[list[str], list[str]]:
        """Where a write has ended half way: paths under a name that somebody reads, and those under one for the time being."""
        paths = [
            path.relative_to(self.root)
            for path in self.root.rglob("*")
            if path.is_file() and path.stat().st_size == HALF
        ]
        passing = [path for path in paths if PASSING.search(str(path))]
        return [str(path) for path in paths if path not in passing], [str(path) for path in passing]
