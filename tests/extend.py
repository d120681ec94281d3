"""A project with extensions, as the guide types them, for tests."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from privllm.clean.own_personal_data import personal_data
from privllm.clean.own_rules import quality_rules
from privllm.collect.readers.registry import own_readers
from privllm.engine.fingerprint import write_fingerprints
from privllm.engine.import_guard import EXTENSIONS, OwnModules
from privllm.engine.load_extensions import _entries_of
from privllm.tasks.own_scores import task_scores
from privllm.validate.own_expectations import own_expectations
from tests.workshop import ROOT, environment

GUIDE = (ROOT / "docs/guides/extensions.md").read_text("utf-8")
# {path: code} of the files of the guide.
TYPED = dict(re.findall(r'^```python title="([^"]+)"\n(.*?)^```$', GUIDE, re.DOTALL | re.MULTILINE))


class Extended:
    """A folder with modules in extensions/ and a list of them in params.yaml."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str, listed: bool = True) -> str:
        """Write a module, and add it to the list."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, "utf-8")
        if listed:
            self.list(*self.listed(), path)
        return path

    def listed(self) -> list[str]:
        match = re.search(r"^extensions: (.*?)(  #.*)?$", self.params.read_text("utf-8"), re.MULTILINE)
        return json.loads(match[1]) if match else []

    def list(self, *paths: str) -> None:
        """Name these modules in params.yaml."""
        text = re.sub(r"^extensions: .*\n", "", self.params.read_text("utf-8"), flags=re.MULTILINE)
        self.params.write_text(f"{text}extensions: {json.dumps(list(dict.fromkeys(paths)))}\n", "utf-8")

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command], cwd=self.root, env=environment(), capture_output=True, text=True, timeout=300
        )

    def fingerprint(self) -> None:
        write_fingerprints(self.root, self.root / "data/fingerprint")


def make_extended(root: Path, monkeypatch: pytest.MonkeyPatch) -> Extended:
    """Make `root` a folder with an empty params.yaml, in which this process works; what it has imported before is forgotten."""
    root.mkdir(exist_ok=True)
    (root / "params.yaml").touch()
    monkeypatch.chdir(root)
    forget_extensions(monkeypatch)
    return Extended(root)


def clear_caches() -> None:
    """Forget what was read of extensions."""
    _entries_of.cache_clear()
    for function in (own_readers, quality_rules, personal_data, own_expectations, task_scores):
        function.cache_clear()


def forget_extensions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process import the extensions and stages of another folder."""
    clear_caches()
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if not isinstance(finder, OwnModules)])
    for name in [name for name in sys.modules if name.partition(".")[0] in (EXTENSIONS, "stages")]:
        monkeypatch.delitem(sys.modules, name)
