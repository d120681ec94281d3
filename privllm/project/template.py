"""The files of a new project: dvc.yaml, stages and parameters as this version of privllm has them.

In a wheel they lie in the package (`setup.py` copies them there), in a clone of the repository they are its own. Two differ from the
repository's: dvc.yaml, whose `fingerprint` names no file inside the package, and params.yaml, which has none of the demo's tasks.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from privllm.core.errors import UserError
from privllm.core.installed_version import installed_version
from privllm.core.plain_yaml import parse_yaml
from privllm.core.seed import digest, name_digest
from privllm.engine.fingerprint import RESOURCES, canonical, locked_versions
from privllm.manage.remove_demo import demo_tasks, without
from privllm.project.contents import FOLDER, PACKAGED, copied_files

EXTRAS = (
    "annotate",
    "baselines",
    "documents",
    "serve",
)  # of privllm, that the stages of dvc.yaml and `privllm serve` need
PYTHON = ">=3.11,<3.14"
# A project's files as they were written, and the digest of the code of privllm that wrote them.
PRISTINE = Path("privllm-template.json")
CODE_DEPS = (
    "deps: [privllm, stages, requirements.lock]",
    f"deps: [stages, extensions, requirements.lock, {PRISTINE}]",
)
OWN_FILES = {  # {path in a project: file of this package}
    "README.md": "README.md",
    "pyproject.toml": "project.toml",
    ".gitignore": "gitignore",
    ".github/workflows/build.yml": "github.yml",
    ".gitlab-ci.yml": "gitlab-ci.yml",
    "slurm.sbatch": "slurm.sbatch",
    "extensions/README.md": "extensions/README.md",
}
WHOLE = {"requirements.lock", "params.schema.json"}  # made by a tool, so replaced and not merged


def original_folder() -> Path:
    """Return where the copied files lie: in the package, or in the repository that it is run from."""
    return PACKAGED if PACKAGED.is_dir() else FOLDER.parents[1]


def project_files(name: str) -> dict[str, bytes]:
    """Return {path: content} of all files of a new project that is called `name`."""
    originals = original_folder()
    files = {path.as_posix(): (originals / path).read_bytes() for path in copied_files(originals)}
    files["dvc.yaml"] = _without_package(files["dvc.yaml"].decode()).encode()
    files["params.yaml"] = _without_demo(files["params.yaml"].decode()).encode()
    pins = locked_versions(originals / "requirements.lock")
    values = {
        "name": name,
        "package": package_name(name),
        "version": package_version(),
        "torch": pins["torch"],
        "extras": ",".join(EXTRAS),
        "python": PYTHON,
        "constraints": _constraints(pins),
    }
    for path, source in OWN_FILES.items():
        files[path] = _filled((FOLDER / "files" / source).read_text("utf-8"), values).encode()
    return dict(sorted(files.items()))


def package_version() -> str:
    """Return the version of the installed privllm. Raises UserError where it is imported without being installed."""
    version = installed_version()
    if version is None:
        raise UserError("privllm is not installed, so it has no version that a project could name: `pip install` it.")
    return version


def package_code() -> str:
    """Return one digest of the modules and templates of the installed package."""
    package = FOLDER.parent
    suffixes = (".py", *RESOURCES)
    paths = sorted(path for path in package.rglob("*") if path.suffix in suffixes and PACKAGED not in path.parents)
    names_and_digests: list[str] = []
    for path in paths:
        names_and_digests += [path.relative_to(package).as_posix(), digest(path.read_bytes())]
    return name_digest("package", *names_and_digests)


def package_name(name: str) -> str:
    """Return a project's name as pyproject.toml takes it: letters, digits and hyphens (PEP 508)."""
    words = re.findall(r"[a-z0-9]+", name.lower())
    return canonical("-".join(words) or "project")


def _filled(text: str, values: Mapping[str, str]) -> str:
    """Replace `{name}` by its value; other braces stay, as YAML and TOML have them."""
    for key, value in values.items():
        text = text.replace(f"{{{key}}}", value)
    return text


def _without_package(pipeline: str) -> str:
    """Return dvc.yaml whose `fingerprint` depends on the project's code, the lock, and the package's code by its digest."""
    before, after = CODE_DEPS
    assert pipeline.count(before) == 1, f"dvc.yaml must say `{before}` once"
    return pipeline.replace(before, after)


def _without_demo(params: str) -> str:
    """Return params.yaml without tasks: the demo's are of its pages, and the others learn from them."""
    values = parse_yaml(params)
    names = demo_tasks(values)
    for section, key in (("tasks", "derive"), ("finetune", "tasks")):
        names += [f"{section}.{key}.{task}" for task in values[section][key]]
    return without(params, list(dict.fromkeys(names)))


def _constraints(pins: Mapping[str, str]) -> str:
    """Return the pins of requirements.lock as lines of a TOML array, so that `uv sync` installs what pip installs.

    They stand in pyproject.toml, since uv reads constraints there alone.
    """
    return "\n".join(f'  "{name}=={pins[name]}",' for name in sorted(pins))
