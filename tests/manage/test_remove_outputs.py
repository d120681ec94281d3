"""make clean: every output of dvc.yaml goes, whatever stages there are; what people put in stays."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from privllm.engine.pipeline import declared_stages, outputs_of
from privllm.manage.remove_outputs import wipe
from tests.workshop import ROOT, environment

OWNED = (
    "data/sources/a.txt",
    "data/feedback/votes.jsonl",
    "data/base/smollm2/config.json",
    "data/promoted/model/incumbent/config.json",
)
KEPT = (
    *OWNED,
    "data/promoted/statistics.json",
    "data/finetune/.gitignore",
    "reports/finetune/.gitignore",
    "reports/LOG.md",
    ".dvc/cache/x",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The pipeline, with a file at every output, and all that is nobody's output."""
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    for path in [path for stage in declared_stages(ROOT).values() for path in outputs_of(stage)]:
        put(tmp_path, path if Path(path).suffix else f"{path}/deep/file")
    for path in (
        *KEPT,
        ".privllm/log.jsonl",
        "data/pretrain/old_family/model.safetensors",
        "reports/evaluate/old_family.json",
    ):
        put(tmp_path, path)
    return tmp_path


def put(root: Path, path: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text("x")


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_all_that_stages_make_goes_and_all_else_stays(root: Path) -> None:
    removed = wipe(root)
    assert {"data/align/causal", "data/gate", "data/start", "reports/gate.json", "data/finetune/gaps"} <= set(removed)
    assert files(root) == {*KEPT, "dvc.yaml", "params.yaml"}
    assert wipe(root) == []


def test_a_stage_that_is_new_is_known_and_what_lies_elsewhere_is_left(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    put(elsewhere, "theirs")
    put(root, "data/mine/file")
    (root / "data/link").symlink_to(elsewhere)
    pipeline = yaml.safe_load((root / "dvc.yaml").read_text("utf-8"))
    outs = ["data/mine", "data/link", "data/link/theirs", str(elsewhere / "theirs"), f"../{elsewhere.name}/theirs", "."]
    pipeline["stages"]["mine"] = {"cmd": "true", "outs": outs}
    (root / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
    wipe(root)
    assert files(root) == {*KEPT, "dvc.yaml", "params.yaml"}
    assert not (root / "data/link").is_symlink()
    assert (elsewhere / "theirs").exists()


def test_make_clean_says_what_it_removed_and_names_no_stage_itself(root: Path) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    recipe = re.search(r"^clean:.*\n((?:\t.*\n?)+)", makefile, flags=re.MULTILINE)
    assert recipe
    assert not [name for name in declared_stages(ROOT) if re.search(rf"\b{name.partition('@')[0]}\b", recipe[1])]
    done = subprocess.run(
        ["make", "-f", ROOT / "Makefile", "clean"],
        cwd=root,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "data/gate" in done.stdout
    assert files(root) == {*KEPT, "dvc.yaml", "params.yaml"}


def test_a_dvc_yaml_that_cannot_be_read_is_an_error_and_nothing_goes(root: Path) -> None:
    (root / "params.yaml").write_text("families: [causal]\n")
    before = files(root)
    done = subprocess.run(
        ["make", "-f", ROOT / "Makefile", "clean"],
        cwd=root,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "error: DVC cannot read dvc.yaml" in done.stderr
    assert before <= files(root)  # DVC leaves notes of its own
