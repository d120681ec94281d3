"""A copy of the repository with a small corpus and a small model, in which tests may build, edit and break things."""

import fnmatch
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from privllm.core.params import known_keys
from privllm.core.work_paths import MODULES_FILE
from privllm.engine.fingerprint import foretell_fingerprints
from privllm.engine.module_analysis import analysis_cache
from privllm.parameters.sections import SECTIONS
from tests.forks import forked

ABSENT = object()  # in place of a value that params.yaml leaves to its default
ROOT = Path(__file__).resolve().parent.parent
SMALL: dict[str, Any] = {
    "split.validation": 0.15,
    "split.test": 0.15,
    "annotate.limit": 6_000,
    "annotate.max_characters": 2_000,
    "tokenizer.vocabulary": 600,
    "pack.context": 64,
    "pretrain.causal.model.layers": 2,
    "pretrain.causal.model.width": 32,
    "pretrain.causal.model.heads": 2,
    "pretrain.masked.model.layers": 1,
    "pretrain.masked.model.width": 32,
    "pretrain.masked.model.heads": 2,
    "pretrain.seq2seq.model.encoder_layers": 1,
    "pretrain.seq2seq.model.decoder_layers": 1,
    "pretrain.seq2seq.model.width": 32,
    "pretrain.seq2seq.model.heads": 2,
    **{
        f"pretrain.{family}.{key}": value
        for family, epochs in (("causal", 0.08), ("masked", 0.02), ("seq2seq", 0.02))
        for key, value in (("epochs", epochs), ("validate_every", 20), ("compile", False))
    },
    "tasks.derive.questions.source": "",  # its pages lie elsewhere
    "finetune.tasks": {
        "questions": {
            "kind": "chat",
            "family": "causal",
            "data": "data/tasks/questions.jsonl",
            "start": "data/pretrain/causal",
            "optional": True,
            "compare_random": True,
            "epochs": 0.1,
            "generated": 2,
            "max_new_tokens": 4,
        }
    },
    "align.sft.epochs": 1.0,
    "align.dpo.epochs": 1.0,
    "evaluate.continuations": 4,
    "evaluate.max_bytes": 40_000,
    "evaluate.bootstrap": 50,
    "evaluate.own_texts": 8,
}
# Modules whose manual is the same whatever a process has imported and changed.
PAGES = """
argparse asyncio.queues base64 bisect calendar collections configparser contextlib csv datetime decimal difflib email.message enum
fractions functools gettext glob heapq html ipaddress json mailbox optparse random shutil socketserver statistics string textwrap""".split()


def environment(**more: str) -> dict[str, str]:
    """This process's variables, with the interpreter that runs the tests first on PATH."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC", "PRIVLLM"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # `dvc repro TARGET` walks stages that do not need each other in the order of a hash set, and so writes them into a new dvc.lock.
    return kept | {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"} | more


def is_parameter(dotted: str) -> bool:
    """Whether a dataclass of the build has the parameter, in params.yaml or not."""
    names = [f"{section}.{key}" for section, schema in SECTIONS.items() for key in known_keys(schema)]
    return any(fnmatch.fnmatch(dotted, name) for name in names)


class Workshop:
    """A folder, the commands that run in it, and what DVC said of it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *command: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        variables = forked(environment(**more))
        if command[0] == sys.executable:
            command = ("python", *command[1:])  # by way of PATH, so that it can be forked
        done = subprocess.run(command, cwd=self.root, env=variables, capture_output=True, text=True, timeout=900)
        assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done

    def repro(self, *arguments: str, check: bool = True, **more: str) -> list[str]:
        """Run `dvc repro`; returns the stages that ran (not those taken from the run-cache)."""
        said = self.run("dvc", "repro", *arguments, check=check, **more).stdout
        return [line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage")]

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.root / path).read_text("utf-8")
        assert old in text, f"{old!r} is not in {path}"
        (self.root / path).write_text(text.replace(old, new, 1), "utf-8")

    def set(self, dotted: str, value: Any) -> Any:
        """Change one parameter; returns the old value, ABSENT where params.yaml had none. ABSENT as `value` takes it out."""
        return self.set_all({dotted: value})[dotted]

    def set_all(self, values: dict[str, Any]) -> dict[str, Any]:
        """Change many parameters as `set` does; returns their old values."""
        params = yaml.safe_load((self.root / "params.yaml").read_text("utf-8"))
        old_values = {}
        for dotted, value in values.items():
            *path, key = dotted.split(".")
            section = params
            for part in path:
                section = section.setdefault(part, {})
            assert key in section or is_parameter(dotted), f"{dotted} is no parameter"
            old_values[dotted] = section.get(key, ABSENT)
            if value is ABSENT:
                del section[key]
            else:
                section[key] = value  # in its old place, as dvc.lock has it
        (self.root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), "utf-8")
        return old_values

    def json(self, path: str) -> Any:
        return json.loads((self.root / path).read_text("utf-8"))

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)


def make_workshop(root: Path, stages: Collection[str] = ()) -> Workshop:
    """Copy what git knows of the repository to `root`, scale its parameters down, and put about thirty documents in.

    With only these `stages` (all of them without): each command of DVC reads and checks all that dvc.yaml declares, and `fingerprint`
    the code of all, which are most of the time of a test that is about a few.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in sorted(set(listed.stdout.decode().split("\0")) - {""}):
        keep = (
            name.startswith(("privllm/", "stages/", ".dvc/", "data/promoted/"))
            or "/" not in name
            or name.endswith(".gitignore")
        )
        if (keep and (ROOT / name).is_file() and name != "dvc.lock" and not name.startswith("reports/")) or (
            name.startswith("reports/") and name.endswith(".gitignore")
        ):
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    shop = Workshop(root)
    shop.set_all(SMALL)
    if stages:
        keep_stages(root, stages)
    (root / MODULES_FILE).parent.mkdir()
    (root / MODULES_FILE).write_text(analyses(), "utf-8")
    fill_sources(root / "data/sources")
    shop.run("git", "init", "-q", "-b", "main")
    shop.run("git", "config", "user.name", "Test")  # `dvc exp run` commits too
    shop.run("git", "config", "user.email", "test@localhost")
    shop.run("dvc", "add", "-q", "data/sources")
    shop.commit("start")
    return shop


@cache
def analyses() -> str:
    """Return what `fingerprint` remembers of our modules, by their bytes: else each build would parse them all, in a second."""
    foretell_fingerprints(ROOT)
    return json.dumps(analysis_cache.analyses)


def keep_stages(root: Path, names: Collection[str]) -> None:
    """Take all other stages out of dvc.yaml, and their code away."""
    declared = yaml.safe_load((root / "dvc.yaml").read_text("utf-8"))
    kept = {name: stage for name, stage in declared["stages"].items() if name in names}
    assert len(kept) == len(names), f"not all of these are stages: {names}"
    (root / "dvc.yaml").write_text(yaml.safe_dump(declared | {"stages": kept}, sort_keys=False), "utf-8")
    for path in (root / "stages").glob("*.py"):
        if path.stem not in {*names, "__init__"}:
            path.unlink()


def fill_sources(sources: Path) -> None:
    """Thirty documents as people have them: HTML, Latin-1, JSON lines, personal data, duplicates, and what cannot be read."""
    (sources / "pages").mkdir(parents=True)
    texts = []
    for name in PAGES:
        text, page = manual_of(name)
        texts.append(text)
        (sources / f"pages/{name}.html").write_text(page, "utf-8")
    prose = "The committee met on Tuesday and read the report. It was agreed that the house on the hill should be painted in the spring. "
    (sources / "letter.txt").write_bytes(
        (prose * 3 + "Please write to jane.doe@example.com; the caf\xe9 is closed.").encode("latin-1")
    )
    (sources / "copy.txt").write_bytes((sources / "letter.txt").read_bytes())
    (sources / "notes.md").write_text("# Notes\n\n" + prose * 4, "utf-8")
    lines = [{"text": f"Chapter {i}. {text}"} for i, text in enumerate(texts[:6])]
    (sources / "chapters.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "{broken\n", "utf-8")
    (sources / "empty.html").write_bytes(b"")
    (sources / "image.html").write_bytes(bytes(range(256)) * 8)


@cache
def manual_of(name: str) -> tuple[str, str]:
    """The first words on a module of Python's, and the page on it."""
    import importlib
    import inspect
    import pydoc

    from privllm.collect.pydoc_pages import ADDRESS

    module = importlib.import_module(name)
    page = pydoc.html.page(name, pydoc.html.document(module, name))
    # Addresses of objects would make each run's corpus, and so its model, another.
    return inspect.getdoc(module) or name, ADDRESS.sub("", page)


def outputs(root: Path, stage: dict[str, Any]) -> dict[str, bytes]:
    """Every file below the outs, metrics and plots of one stage of dvc.yaml, with its bytes."""
    found: dict[str, bytes] = {}
    for entry in [*stage.get("outs", []), *stage.get("metrics", []), *stage.get("plots", [])]:
        path = root / (entry if isinstance(entry, str) else next(iter(entry)))
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                found[str(file.relative_to(root))] = file.read_bytes()
    return found
