"""Checks that the parameters which dvc.lock records for a stage are those that the stage read.

DVC reads params.yaml once more after a stage has ended, so a parameter that is saved just then is recorded beside a result of its
former value, and looks up to date for ever, in DVC's run cache too. Each stage therefore writes a digest of the parameters that it
read into its report, and every later stage, `privllm plan`, `check` and `audit` compare it with dvc.lock.
"""

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from privllm.core.errors import UserError
from privllm.core.params import PARAMS_FILE, in_order
from privllm.core.report import write_json
from privllm.engine.pipeline import declared_stages, outputs_of
from privllm.engine.source_guard import locked_stages, stages_after

KEY = "parameters_read"  # in a report; `parameters` is the size of a model there
DIGITS = 16  # hexadecimal ones of a digest


def record_parameters(declared: Mapping[str, Any], values: Mapping[str, Any], root: Path = Path()) -> None:
    """Add the digest of the parameters that a stage has read to the report that it has written."""
    path = report_in(outputs_of(declared))
    if values and path is not None and (root / path).is_file():
        report = json.loads((root / path).read_text("utf-8"))
        write_json(root / path, report | {KEY: digest_of_parameters(values)})


def report_in(outputs: Iterable[str]) -> Path | None:
    """Return the JSON report among the outputs of a stage, None for a stage without one."""
    for output in outputs:
        if output.startswith("reports/") and output.endswith(".json") and not output.startswith("reports/metrics/"):
            return Path(output)
    return None


def digest_of_parameters(values: Mapping[str, Any]) -> str:
    """Return a digest of parameters by their dotted names; numbers count alike however YAML 1.1 and 1.2 read them."""
    text = json.dumps(_plain(in_order(dict(values))), sort_keys=True, default=str)
    return sha256(text.encode()).hexdigest()[:DIGITS]


def _plain(value: Any) -> Any:
    """Return `value` with its numbers as texts: `1e-3` is a text for one parser and a number for the other."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    try:
        return repr(float(value))
    except (TypeError, ValueError, OverflowError):
        return str(value)


def stages_with_other_parameters(root: Path = Path()) -> list[str]:
    """Return the stages for which dvc.lock records other parameters than they have read."""
    return [stage for stage, entry in locked_stages(root).items() if _differs(entry, root)]


def _differs(entry: Mapping[str, Any], root: Path) -> bool:
    """Return whether a stage's entry in dvc.lock has other parameters than its report says.

    A stage that has not run, or that reads no parameters, does not differ.
    """
    path = report_in(output["path"] for output in entry.get("outs", []))
    values = entry.get("params", {}).get(str(PARAMS_FILE))
    if path is None or values is None:
        return False
    try:
        digest = json.loads((root / path).read_text("utf-8"))[KEY]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(digest != digest_of_parameters(values))


def force_command(stages: list[str]) -> str:
    """Return the command that builds these stages again, whatever DVC believes."""
    return f"dvc repro --single-item --force {' '.join(stages)}"


def explain_other_parameters(stages: list[str]) -> str:
    """Return a sentence, without its full stop, that says which stages read former values."""
    return (
        f"{PARAMS_FILE} was saved after `{'`, `'.join(stages)}` had read it and before DVC looked at it, so what was built is of the "
        "former values and DVC does not know"
    )


def require_parameters_as_read(stage: str, root: Path = Path()) -> None:
    """Raise UserError where `stage` depends on a result of other parameters than dvc.lock records."""
    differing = stages_with_other_parameters(root)
    if not differing:
        return
    declared = declared_stages(root)
    above = [name for name in differing if stage in stages_after(name, declared)]
    if above:
        raise UserError(f"{explain_other_parameters(above)}. Run `{force_command(above)}`, then `dvc repro`.")
