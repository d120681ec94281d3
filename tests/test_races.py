"""What is saved after a stage has ended and before DVC has looked at what it depends on (dvc #11058): noticed, never lost.

DVC is held in that moment, not by timing: a file `sitecustomize.py` on PYTHONPATH edits what the test says when DVC begins to save
the dependencies of a stage.
"""

from pathlib import Path

import pytest

from privllm.core.tables import iterate_rows
from tests.workshop import Workshop, make_workshop

HOOK = """
import os, sys
from pathlib import Path

if any(Path(word).name == "dvc" for word in sys.orig_argv[:2]):
    import dvc.stage

    save_deps = dvc.stage.Stage.save_deps

    def save_after_an_edit(stage, *arguments, **more):
        if stage.addressing == os.environ["PRIVLLM_RACE_STAGE"]:
            path = Path(os.environ["PRIVLLM_RACE_FILE"])
            path.write_text(path.read_text("utf-8") + os.environ["PRIVLLM_RACE_TEXT"], "utf-8")
        return save_deps(stage, *arguments, **more)

    dvc.stage.Stage.save_deps = save_after_an_edit
"""
PROSE = "\nThe zebra went to the market on Monday, and it was seen by all the people who live in the house on the hill.\n" * 4


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    shop = make_workshop(tmp_path_factory.mktemp("races") / "repo")
    shop.repro("clean")
    shop.commit("built")
    (shop.root.parent / "hook").mkdir()
    (shop.root.parent / "hook/sitecustomize.py").write_text(HOOK, "utf-8")
    return shop


def save_when(shop: Workshop, stage: str, path: str, text: str, target: str = "clean") -> str:
    """Run `dvc repro TARGET`, with `text` appended to `path` when DVC is about to hash what `stage` depends on; what was said."""
    hook = {"PRIVLLM_RACE_STAGE": stage, "PRIVLLM_RACE_FILE": str(shop.root / path), "PRIVLLM_RACE_TEXT": text}
    done = shop.run("dvc", "repro", target, check=False, PYTHONPATH=str(shop.root.parent / "hook"), **hook)
    return done.stdout + done.stderr


def texts(shop: Workshop) -> str:
    return " ".join(row["text"] for row in iterate_rows(shop.root / "data/clean", ["text"]))


def test_a_document_saved_before_dvc_looks_is_noticed_and_the_named_command_reads_it(built: Workshop) -> None:
    (built.root / "data/sources/notes.md").write_text("# Notes\n" + PROSE.replace("zebra", "horse"), "utf-8")
    said = save_when(built, "collect", "data/sources/letter.txt", PROSE)
    assert "dvc repro --force collect" in said
    for _ in range(2):  # and it is not forgotten
        again = built.run("dvc", "repro", "clean", check=False)
        assert again.returncode
        assert "dvc repro --force collect" in again.stderr
    assert "zebra" not in texts(built)
    built.repro("--force", "collect")
    built.repro("clean")
    assert "zebra" in texts(built)
    assert "horse" in texts(built)


def test_where_no_later_stage_runs_plan_and_audit_say_it(built: Workshop) -> None:
    (built.root / "data/sources/notes.md").write_text("# Notes\n" + PROSE.replace("zebra", "donkey"), "utf-8")
    save_when(built, "collect", "data/sources/letter.txt", PROSE.replace("zebra", "camel"), "collect")
    assert built.repro("collect") == []  # DVC knows of nothing
    assert "dvc repro --force collect" in built.run("privllm", "plan").stdout
    audited = built.run("privllm", "audit", check=False)
    assert audited.returncode
    assert "dvc repro --force collect" in audited.stderr
    built.repro("--force", "collect")
    built.repro("clean")
    assert "camel" in texts(built)
    assert "dvc repro --force collect" not in built.run("privllm", "plan").stdout


def test_code_saved_before_dvc_looks_is_noticed_and_the_named_command_helps(built: Workshop) -> None:
    built.edit("privllm/core/seed.py", "def digest(", "ONE = 1\n\n\ndef digest(")
    said = save_when(built, "fingerprint", "privllm/clean/recipe.py", "\nTWO = 2\n")
    assert "dvc repro --force fingerprint" in said
    again = built.run("dvc", "repro", "clean", check=False)
    assert again.returncode
    assert "dvc repro --force fingerprint" in again.stderr
    assert "dvc repro --force fingerprint" in built.run("privllm", "plan").stdout
    built.repro("--force", "fingerprint")
    assert "clean" in built.repro("clean")
    assert "dvc repro --force fingerprint" not in built.run("privllm", "plan").stdout
