"""Faults of extensions, before anything is built: each module is imported, and each of its entries checked.

It runs with the check of params.yaml, so in the root of the project, in a process that ends with it.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from privllm.clean.own_personal_data import personal_data
from privllm.clean.own_rules import quality_rules
from privllm.collect.readers.registry import own_readers
from privllm.core.errors import UserError
from privllm.core.params import read_params
from privllm.engine.extensions import KINDS, SECTION, Extension, Extensions, declared_extensions
from privllm.engine.pipeline import PIPELINE, written_stages
from privllm.tasks.own_scores import task_scores
from privllm.validate.expectations import ValidateConfig, expectations, sentences_of
from privllm.validate.own_expectations import own_checks

FINGERPRINT = "fingerprint"  # the stage that reads extensions
CHECKS: dict[str, Callable[[Extensions], Any]] = {
    "READERS": own_readers,
    "QUALITY_RULES": quality_rules,
    "PERSONAL_DATA": personal_data,
    "EXPECTATIONS": lambda extensions: own_checks(extensions, _sentences()),
    "TASK_SCORES": task_scores,
}


def extension_faults(root: Path) -> Iterator[str]:
    """Yield a sentence, with file and line, for whatever is wrong with the extensions that params.yaml names."""
    try:
        extensions = declared_extensions(root)
    except UserError as error:
        yield str(error)
        return
    yield from _undeclared(extensions, root)
    for extension in extensions:
        for kind in KINDS:
            if kind not in extension.names:
                continue
            try:
                CHECKS[kind](Extensions("", (extension.module,)))
            except UserError as error:
                yield str(error)


def _sentences() -> set[str]:
    """Return the sentences of privllm's own expectations, in which some parameters stand."""
    return sentences_of(expectations(read_params("validate", ValidateConfig), "", {}))


def _undeclared(extensions: list[Extension], root: Path) -> Iterator[str]:
    """Yield a fault where DVC would not notice an edit: `fingerprint` does not depend on a module, or on the list of them."""
    declared = written_stages(root).get(FINGERPRINT)
    if not extensions or declared is None:
        return
    for extension in extensions:
        if not any(f"{extension.path}/".startswith(f"{dep.rstrip('/')}/") for dep in declared.get("deps") or []):
            folder = extension.path.partition("/")[0]
            yield (
                f"{extension.path} lies below no dependency of the stage `{FINGERPRINT}`, so DVC would not notice its edits: "
                f"add `{folder}` to `deps` of `{FINGERPRINT}` in {PIPELINE}."
            )
    if SECTION not in (declared.get("params") or []):
        yield (
            f"the stage `{FINGERPRINT}` does not depend on the parameter `{SECTION}`, so DVC would not notice another list: "
            f"add `{SECTION}` to its `params` in {PIPELINE}."
        )
