"""What DVC does not see is noticed, never lost: `privllm check`, `plan`, `audit`, and the stages themselves.

Of all moments the worst is the one after a stage has ended and before DVC has looked at what it depends on (dvc #11058). DVC is held
there, not by timing: a file `sitecustomize.py` on PYTHONPATH edits what the test says when DVC begins to save
the dependencies of a stage.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from privllm.core.tables import iterate_rows
from tests.workshop import Workshop, make_workshop

HOOK = """
import os, sys
from pathlib import Path

if any(Path(word).name == "dvc" for word in sys.orig_argv[:2]):
    import dvc.stage

    save = dvc.stage.Stage.save  # what a stage depends on and makes, after its command has ended

    def save_after_an_edit(stage, *arguments, **more):
        if stage.addressing == os.environ["PRIVLLM_RACE_STAGE"]:
            path, text = Path(os.environ["PRIVLLM_RACE_FILE"]), os.environ["PRIVLLM_RACE_TEXT"]
            before, replaced = path.read_bytes() if path.is_file() else b"", os.environ["PRIVLLM_RACE_REPLACED"]
            path.write_bytes(before.replace(replaced.encode(), text.encode(), 1) if replaced else before + text.encode())
        return save(stage, *arguments, **more)

    dvc.stage.Stage.save = save_after_an_edit
"""
STAGES = ("fingerprint", "collect", "clean", "dedup")
PROSE = """
The zebra went to the market on Monday, and it was seen by all the people who live in the house on the hill.
Nobody had told them that a zebra would come, so they were glad to have been at the window in the morning.
In the evening the mayor wrote a letter about the zebra, which was read to the committee in the spring.
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    shop = make_workshop(tmp_path_factory.mktemp("races") / "repo", STAGES)
    shop.repro("clean")
    shop.commit("built")
    (shop.root.parent / "hook").mkdir()
    (shop.root.parent / "hook/sitecustomize.py").write_text(HOOK, "utf-8")
    return shop


def save_when(shop: Workshop, stage: str, path: str, text: str, target: str = "clean", replaced: str = "") -> str:
    """Run `dvc repro TARGET`; when DVC is about to hash what `stage` depends on, append `text` to `path`, or put it for `replaced`.

    Returns what was printed.
    """
    hook = {"PRIVLLM_RACE_STAGE": stage, "PRIVLLM_RACE_FILE": str(shop.root / path), "PRIVLLM_RACE_TEXT": text}
    hook["PRIVLLM_RACE_REPLACED"] = replaced
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


def test_a_parameter_saved_before_dvc_looks_is_noticed_and_the_named_command_reads_it(built: Workshop) -> None:
    (built.root / "data/sources/notes.md").write_text("# Notes\n" + PROSE.replace("zebra", "llama"), "utf-8")
    before = "languages: []"
    output = save_when(built, "clean", "params.yaml", "languages: [de]", "dedup", before)
    command = "dvc repro --single-item --force clean"
    assert command in output
    assert command in built.run("dvc", "repro", "dedup", check=False).stderr  # and it is not forgotten
    assert command in built.run("privllm", "plan").stdout
    assert command in built.run("privllm", "audit", check=False).stderr
    assert "llama" in texts(built)
    built.run("privllm", "check", "--fix")
    assert "llama" not in texts(built)  # an English text
    built.edit("params.yaml", "languages: [de]", before)
    built.repro("clean")
    assert "llama" in texts(built)
    assert built.run("privllm", "check").stdout == "Nothing hides from DVC.\n"


def test_check_runs_the_named_commands_itself(built: Workshop) -> None:
    """As `make run` asks it to."""
    (built.root / "data/sources/notes.md").write_text("# Notes\n" + PROSE.replace("zebra", "mule"), "utf-8")
    save_when(built, "collect", "data/sources/letter.txt", PROSE.replace("zebra", "ox"))
    assert built.run("privllm", "check", check=False).returncode == 1
    built.run("privllm", "check", "--fix")
    assert built.run("privllm", "check").stdout == "Nothing hides from DVC.\n"
    built.repro("clean")
    assert "ox" in texts(built)


def test_an_edit_with_equal_size_and_time_is_noticed(built: Workshop) -> None:
    path = built.root / "data/sources/notes.md"
    path.write_text("# Notes\n" + PROSE.replace("zebra", "goose"), "utf-8")
    built.repro("clean")
    status = path.stat()
    path.write_text("# Notes\n" + PROSE.replace("zebra", "swans"), "utf-8")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert built.repro("clean") == []  # DVC knows of nothing
    for command in ("check", "plan"):
        said = built.run("privllm", command, check=False).stdout
        assert "data/sources/notes.md" in said
        assert "privllm check --fix" in said
    built.run("privllm", "check", "--fix")
    assert "clean" in built.repro("clean")
    assert "swans" in texts(built)


def test_an_edit_of_code_with_equal_size_and_time_is_noticed(built: Workshop) -> None:
    path = built.root / "privllm/clean/recipe.py"
    code, status = path.read_bytes(), path.stat()
    edited = code.replace(b"SHARE = 0.01", b"SHARE = 0.02")
    with path.open("r+b") as file:
        file.write(edited)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert edited != code
    assert built.repro("clean") == []  # DVC knows of nothing
    assert "privllm check --fix" in built.run("privllm", "check", check=False).stdout
    built.run("privllm", "check", "--fix")
    assert "clean" in built.repro("clean")
    path.write_bytes(code)
    built.repro("clean")
    assert built.run("privllm", "check").stdout == "Nothing hides from DVC.\n"


def test_a_touched_mode_or_a_moved_copy_is_no_edit(built: Workshop) -> None:
    path = built.root / "data/sources/notes.md"
    path.chmod(0o600)
    assert built.run("privllm", "check").stdout == "Nothing hides from DVC.\n"
    path.chmod(0o644)


@pytest.fixture
def merged(built: Workshop, tmp_path: Path) -> Iterator[Workshop]:
    """A colleague's document has come by `git merge`, and nobody has typed `dvc checkout`."""
    (built.root / "data/sources/letter.txt").write_text(PROSE.replace("zebra", tmp_path.name), "utf-8")
    built.repro("clean")
    built.commit("ours")
    before = built.run("git", "rev-parse", "HEAD").stdout.strip()
    built.run("git", "checkout", "-qb", "colleague")
    path = built.root / "data/sources/notes.md"
    ours = path.read_bytes()
    path.write_text("# Notes\n" + PROSE.replace("zebra", "heron"), "utf-8")
    built.run("dvc", "add", "-q", "data/sources")
    built.commit("theirs")
    built.run("git", "checkout", "-q", "main")
    built.run("dvc", "checkout", "-q", "data/sources.dvc")
    assert path.read_bytes() == ours
    built.run("git", "merge", "-q", "colleague")
    yield built
    built.run("git", "reset", "-q", "--hard", before)
    built.run("git", "branch", "-qD", "colleague")
    built.run("dvc", "checkout", "-q", "--force", "--allow-missing")


def test_a_merge_that_was_not_checked_out_is_noticed_before_it_is_undone(merged: Workshop) -> None:
    for command in ("check", "plan"):
        said = merged.run("privllm", command, check=False).stdout
        assert "data/sources/notes.md" in said
        assert "dvc checkout data/sources.dvc" in said
    assert merged.run("privllm", "check", "--fix", check=False).returncode == 1  # a person must decide
    merged.run("dvc", "checkout", "data/sources.dvc")
    assert merged.run("privllm", "check").stdout == "Nothing hides from DVC.\n"
    merged.repro("clean")
    assert "heron" in texts(merged)


def test_a_merge_beside_edits_of_one_s_own_is_noticed_too(merged: Workshop) -> None:
    (merged.root / "data/sources/copy.txt").write_text(PROSE.replace("zebra", "badger"), "utf-8")
    said = merged.run("privllm", "check", check=False).stdout
    assert "data/sources/notes.md" in said
    assert "data/sources/copy.txt" not in said


def test_a_merge_that_a_build_has_undone_is_noticed(merged: Workshop) -> None:
    merged.repro("clean")
    assert "heron" not in texts(merged)
    said = merged.run("privllm", "check", check=False).stdout
    assert "data/sources/notes.md" in said
    assert "git checkout HEAD -- data/sources.dvc && dvc checkout data/sources.dvc" in said
    merged.run("git", "checkout", "HEAD", "--", "data/sources.dvc")
    merged.run("dvc", "checkout", "data/sources.dvc")
    assert merged.run("privllm", "check").stdout == "Nothing hides from DVC.\n"


def test_edits_of_one_s_own_are_nobody_s_business(built: Workshop) -> None:
    """Before and after `dvc add`, before and after a commit, and edited once more."""
    path = built.root / "data/sources/notes.md"
    for animal, command in (
        ("otter", ""),
        ("stoat", "dvc add -q data/sources"),
        ("weasel", "git commit -qam edited"),
        ("ferret", ""),
    ):
        path.write_text("# Notes\n" + PROSE.replace("zebra", animal), "utf-8")
        if command:
            built.run(*command.split())
        assert built.run("privllm", "check").stdout == "Nothing hides from DVC.\n", animal
    built.repro("clean")
    assert built.run("privllm", "check").stdout == "Nothing hides from DVC.\n"
