"""Words that a shell completes: stages, parameters, tasks, families and revisions of the build in this folder.

Each function gets the beginning of a word and returns what it may become. It reads small files only, for a person
waits after Tab; and where something is missing or broken it returns nothing, for an error would be printed into the
line that is being typed.
"""

import json
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from privllm.core.families import TRAITS
from privllm.core.params import load_sections
from privllm.engine.pipeline import declared_stages

SCHEMA_FILE = Path("params.schema.json")
TUNED = Path("data/finetune")
REFERENCES = ("refs/heads", "refs/tags", "refs/remotes")
Completion = Callable[[str], list[str]]


def completing(words: Callable[[], Iterable[str]]) -> Completion:
    """Make a completion of a function that returns all words: those that begin alike, sorted; none after an error."""

    def complete(incomplete: str) -> list[str]:
        try:
            return sorted({word for word in words() if word.startswith(incomplete)})
        except Exception:  # whatever is wrong, the command itself says it
            return []

    return complete


@completing
def stages() -> Iterable[str]:
    """Return the stages of dvc.yaml, those of a matrix as `stage` and `stage@item`."""
    names = list(declared_stages())
    return [*names, *(name.partition("@")[0] for name in names)]


@completing
def parameters() -> Iterator[str]:
    """Yield every dotted name that `privllm params` takes: sections, parameters and what lies between."""
    schema = json.loads(SCHEMA_FILE.read_text("utf-8"))
    yield from _names_in(schema, schema["$defs"], "")


def _names_in(schema: Mapping[str, Any], definitions: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Yield the names in a JSON schema: of its references (sections), and of all that these hold."""
    is_section = "$ref" in schema
    definition = definitions[schema["$ref"].rpartition("/")[2]] if is_section else schema
    for name, inner in definition.get("properties", {}).items():
        if is_section or "$ref" in inner or "properties" in inner:
            yield prefix + name
            yield from _names_in(inner, definitions, f"{prefix}{name}.")


@completing
def tasks() -> Iterable[str]:
    """Return the tasks of params.yaml, and those that were tuned."""
    tuned = [path.parent.name for path in TUNED.glob("*/training.json")]
    return [*tuned, *_tasks_of_params()]


def _tasks_of_params() -> list[str]:
    return list(load_sections().get("finetune", {}).get("tasks") or {})


@completing
def families() -> Iterable[str]:
    """Return the families of models."""
    return TRAITS


@completing
def revisions() -> Iterable[str]:
    """Return branches and tags, and the words that `compare` knows."""
    command = ["git", "for-each-ref", "--format=%(refname:short)", *REFERENCES]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return [*names, "HEAD", "workspace"]
