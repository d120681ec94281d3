"""The whole build on thirty documents: offline, from declared inputs alone, twice the same bytes, and only what an edit reaches.

One build (the `built` fixture) is shared; tests that edit it put back what they changed.
"""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from privllm.core.families import TRAITS
from privllm.engine.params_guard import KEY, report_in
from privllm.engine.pipeline import declared_stages, outputs_of
from tests.feedback.said import put, rating, vote
from tests.forks import forked
from tests.namespaces import FORBIDDEN, NO_NETWORK
from tests.workshop import ROOT, SMALL, Workshop, environment, make_workshop, outputs

TUNED = {f"finetune@{task}" for task in SMALL["finetune.tasks"]}  # the workshop has a task or two of its own
STAGES = {
    name: stage for name, stage in declared_stages(ROOT).items() if not name.startswith("finetune@") or name in TUNED
}
INTERFACES = "/proc/self/net/dev"  # of the process that reads it; two lines, then one for each


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A finished build, watched, without any network where the kernel allows that (`test_the_build_ran_without_any_network`)."""
    shop = make_workshop(tmp_path_factory.mktemp("built") / "repo")
    votes = [
        vote(who, f"What is valve {i}?", "left", left=f"Valve {i} of jane@corp.example.")
        for who in "ab"
        for i in range(30)
    ]
    put(
        shop.root / "data/feedback/votes.jsonl",
        *votes,
        rating("a", "And the pump?", "down", "It lifts water."),
        "{poison",
    )
    shop.run("dvc", "add", "-q", "data/feedback/votes.jsonl")
    shop.commit("what people said")
    (shop.root.parent / "watched").mkdir()
    watch = {
        "PRIVLLM_WATCH": str(shop.root.parent / "watched"),
        "PYTHONPATH": str(ROOT / "tests/watch"),
        "PYTHONHASHSEED": "1",
    }
    note_network = f"cat {INTERFACES} > ../interfaces" if NO_NETWORK else "true"
    done = shop.run(*NO_NETWORK, "sh", "-c", f"{note_network} && exec dvc repro", **watch)
    (shop.root.parent / "build.log").write_text(done.stdout + done.stderr, "utf-8")
    shop.commit("built")
    return shop


@pytest.fixture
def events(built: Workshop) -> dict[str, list[list[str]]]:
    """{stage: [[kind, what], ...]} as the audit hook saw it."""
    logs = (built.root.parent / "watched").glob("*.jsonl")
    return {log.stem: [json.loads(line) for line in log.read_text("utf-8").splitlines()] for log in logs}


@pytest.fixture
def edited(built: Workshop) -> Iterator[Workshop]:
    """The build, to be edited; tracked files and dvc.lock are restored, and the outputs checked out, afterwards."""
    yield built
    built.run("git", "reset", "-q", "--hard")
    built.run("dvc", "checkout", "-q", "--force")


def code_of(stage: str, root: Path) -> list[str]:
    """The files of a stage's import closure, as its fingerprint names them."""
    modules = json.loads((root / f"data/fingerprint/{stage.partition('@')[0]}.json").read_text("utf-8"))["modules"]
    paths = []
    for name in modules:
        package, is_template, file = name.partition("/")
        if is_template:
            paths.append(f"{package.replace('.', '/')}/{file}")
            continue
        base = name.replace(".", "/")
        paths.append(f"{base}.py" if (root / f"{base}.py").is_file() else f"{base}/__init__.py")
    return paths


def tracked(stage: str) -> list[str]:
    declared = STAGES[stage]
    return [*declared["deps"], *outputs_of(declared)]


def test_the_audit_hook_saw_every_stage(events) -> None:
    assert set(events) == set(STAGES)


@pytest.mark.proof
@pytest.mark.skipif(not NO_NETWORK, reason=FORBIDDEN)
def test_the_build_ran_without_any_network(built: Workshop) -> None:
    """The loopback interface is there in any namespace, and down in a new one: no packet passed through it."""
    _, _, *interfaces = (built.root.parent / "interfaces").read_text("utf-8").splitlines()
    assert [line.split() for line in interfaces] == [["lo:"] + ["0"] * 16]
    assert built.run("git", "ls-files", "dvc.lock").stdout == "dvc.lock\n"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_opens_only_what_it_declared_and_no_network(built: Workshop, events, stage: str) -> None:
    allowed = [*tracked(stage), *(code_of(stage, built.root) if stage != "fingerprint" else [])]
    # dvc.yaml: what to watch for changes meanwhile; .dvc: the cache, whose objects are named by what they hold; .dvcignore: what
    # DVC leaves out of the sources' hash; the last three: whether the sources were saved before DVC looked (`engine.source_guard`).
    own = (
        "params.yaml",
        f"data/fingerprint/{stage.partition('@')[0]}.json",
        ".privllm",
        "dvc.yaml",
        ".dvc",
        ".dvcignore",
    )
    own += ("dvc.lock", "data/collect/sources.json", "data/sources.dvc")
    # Reports say which parameters their stages read (`engine.params_guard`), and that alone is looked at.
    own += tuple(str(report_in(outputs_of(declared))) for declared in STAGES.values())
    for kind, what in events[stage]:
        assert kind == "open", f"{stage}: {kind} {what}"
        place = what.removesuffix(".partial")  # a file is written beside its place, and moved there when it is whole
        inside = any(place == path or place.startswith(path + "/") for path in (*allowed, *own))
        assert inside or what.endswith((".pyc", "__pycache__")), (
            f"{stage} opened {what}, which dvc.yaml does not declare"
        )


def only(names: list[str], params: dict) -> dict:
    """The named sections of params.yaml, of which one may be part of another ("pretrain.causal")."""
    found: dict = {}
    for name in names:
        *path, last = name.split(".")
        inside, outside = found, params
        for part in path:
            inside, outside = inside.setdefault(part, {}), outside[part]
        inside[last] = outside[last]
    return found


def test_every_stage_gives_the_same_bytes_from_its_declared_inputs_alone(built: Workshop, tmp_path: Path) -> None:
    """Each stage runs in an empty folder with its deps, its fingerprint's modules and its own parameters; other hash seed, other path."""
    params = yaml.safe_load((built.root / "params.yaml").read_text("utf-8"))
    for stage, declared in STAGES.items():
        bench = tmp_path / stage
        code = code_of(stage, built.root) if stage != "fingerprint" else []
        for path in [*declared["deps"], *code]:
            target = bench / path
            target.parent.mkdir(parents=True, exist_ok=True)
            ignore = shutil.ignore_patterns("__pycache__")
            if (built.root / path).is_dir():
                shutil.copytree(built.root / path, target, dirs_exist_ok=True, ignore=ignore)
            else:
                shutil.copyfile(built.root / path, target)
        (bench / "params.yaml").write_text(yaml.safe_dump(only(declared.get("params", []), params)), "utf-8")
        done = subprocess.run(
            declared["cmd"].split(),
            cwd=bench,
            env=forked(environment(PYTHONHASHSEED="2")),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{stage}: {done.stderr[-3000:]}"
        if report := report_in(
            outputs_of(declared)
        ):  # without dvc.yaml the stage does not know which parameters it declares
            figures = json.loads((built.root / report).read_text("utf-8"))
            assert figures.pop(KEY, "") or not declared.get("params")
            assert json.loads((bench / report).read_text("utf-8")) == figures, stage
        expected, found = outputs(built.root, declared), outputs(bench, declared)
        assert set(found) == set(expected), stage
        expected.pop(str(report), None)
        assert [path for path in expected if expected[path] != found[path]] == [], stage


def test_the_first_build_warns_of_nothing_empty(built: Workshop) -> None:
    """DVC warns of an empty file or folder at every stage that needs it; there is no incumbent yet, so the gate has nothing to say."""
    said = (built.root.parent / "build.log").read_text("utf-8")
    assert "Running stage 'gate'" in said
    assert [line for line in said.splitlines() if "is empty" in line] == []
    assert built.json("data/gate/verdict.json") == {"incumbent": "", "passed": True}


def test_the_plots_are_drawn_without_a_warning_and_the_metrics_are_few(built: Workshop) -> None:
    """Reports are plots in name only: DVC reads them, and says nothing of them."""
    done = built.run("dvc", "plots", "show")
    assert "WARNING" not in done.stdout + done.stderr
    page = (built.root / "dvc_plots/index.html").read_text("utf-8")
    assert 'id = "reports_pretrain_causal_plots_metrics_train_loss_tsv"' in page
    assert "https://cdn" not in page
    header = built.run("dvc", "exp", "show").stdout.splitlines()[1][:200].split()
    assert header[:6] == [
        "Experiment",
        "Created",
        "questions.loss",
        *(traits.clean_bits for traits in TRAITS.values()),
    ]


def test_nothing_to_do_when_nothing_changed(built: Workshop) -> None:
    assert built.repro() == []


def test_what_people_said_is_ready_to_learn_from(built: Workshop) -> None:
    report = built.json("reports/feedback.json")
    assert (report["lines"], report["kept"], report["quarantined"]) == (62, 61, {"json": 1})
    assert report["placeholders"] == {"EMAIL": 60}
    assert report["preferences"] * 2 == report["preference_votes"] > 0 < report["held_out"]
    assert (built.root / "data/feedback_clean/sft.jsonl").is_file()


def test_what_people_said_is_learnt_by_who_converses(built: Workshop) -> None:
    report = built.json("reports/align/causal.json")
    assert (report["aligned"], report["people"]) == (True, 2)
    said = built.json("reports/feedback.json")
    assert report["training"]["preferences"]["used"] == said["preferences"] + said["sft"]
    assert built.json("reports/export/causal.json")["chat"]
    assert "1 corrections" in (built.root / "data/export/causal/README.md").read_text("utf-8")
    for family in ("masked", "seq2seq"):
        assert not built.json(f"reports/align/{family}.json")["aligned"]
        for path in sorted((built.root / "data/pretrain" / family).iterdir()):
            assert (built.root / "data/align" / family / path.name).read_bytes() == path.read_bytes()


def test_what_is_quarantined_trains_nothing_and_a_vote_what_it_reaches(edited: Workshop) -> None:
    path = edited.root / "data/feedback/votes.jsonl"
    held = path.read_bytes()
    path.unlink()  # it may be a link into the cache
    path.write_bytes(held + b"{}\n")
    assert edited.repro() == ["feedback", "report"]  # which says what was left out
    put(edited.root / "new.jsonl", vote("c", "And valve 31?", "right"))
    path.write_bytes(held + (edited.root / "new.jsonl").read_bytes())
    passed = {f"align@{family}" for family in ("causal", "masked", "seq2seq")}
    ran = edited.repro()
    assert passed <= set(ran)
    assert {name for name in ran if name.endswith(("@masked", "@seq2seq"))} == passed - {
        "align@causal"
    }  # they hand on the same bytes
    assert {"evaluate@causal", "export@causal"} <= set(ran)
    (edited.root / "new.jsonl").unlink()
    path.write_bytes(held)


def test_touching_and_rewriting_sources_runs_nothing(edited: Workshop) -> None:
    path = edited.root / "data/sources/letter.txt"
    path.write_bytes(path.read_bytes())
    assert edited.repro() == []


def test_a_comment_in_a_library_file_reaches_only_fingerprint(edited: Workshop) -> None:
    path = edited.root / "privllm/core/seed.py"
    path.write_text("# a comment\n" + path.read_text("utf-8"), "utf-8")
    assert edited.repro() == ["fingerprint"]


def test_a_helper_three_imports_away_reaches_exactly_its_users(edited: Workshop) -> None:
    """`privllm.core.seed` hashes for most; `privllm.report` is the last stage's alone."""
    (edited.root / "privllm/report/funnel.py").write_text(
        (edited.root / "privllm/report/funnel.py").read_text("utf-8") + "\nNOTHING = 0\n", "utf-8"
    )
    assert edited.repro() == ["fingerprint", "report"]
    edited.edit("privllm/core/split.py", "def split_of(", "MEANING = 1\n\n\ndef split_of(")
    edited.repro("fingerprint")
    users = {
        stage for stage in STAGES if stage != "fingerprint" and "privllm/core/split.py" in code_of(stage, edited.root)
    }
    status = json.loads(edited.run("dvc", "status", "--json").stdout)
    changed = {
        stage
        for stage, what in status.items()
        if any(f"data/fingerprint/{stage.partition('@')[0]}.json" in str(item) for item in what)
    }
    assert changed == users
    assert {"dedup", "annotate", "pack"} <= users  # dedup's sample for the vocabulary is of training documents
    assert not users & {"collect", "clean"}


def test_a_parameter_runs_what_it_reaches_and_comes_back_from_the_run_cache(edited: Workshop) -> None:
    lock = (edited.root / "dvc.lock").read_bytes()
    old = edited.set("pretrain.masked.learning_rate", 0.0007)
    assert edited.repro() == ["pretrain@masked", "align@masked", "evaluate@masked", "export@masked", "gate", "report"]
    assert (edited.root / "dvc.lock").read_bytes() != lock
    diff = edited.run("dvc", "metrics", "diff", "HEAD", "--md").stdout
    assert "evaluate/masked.json" in diff
    assert "loss" in edited.run("dvc", "plots", "diff", "HEAD", "--json").stdout
    edited.set("pretrain.masked.learning_rate", old)
    assert edited.repro() == []
    assert (edited.root / "dvc.lock").read_bytes() == lock


def test_only_the_families_that_are_asked_for_are_built(edited: Workshop) -> None:
    edited.set("families", ["causal"])
    notes = ["pretrain@masked", "pretrain@seq2seq"]  # that these are not built
    assert sorted(edited.repro()) == ["annotate", "fingerprint", "gate", *notes, "report", "start"]
    assert "fills gaps." not in (edited.root / "reports/index.html").read_text("utf-8")
    assert [path.name for path in (edited.root / "data/pretrain/masked").iterdir()] == ["skipped.json"]
    assert not (edited.root / "data/align/masked").exists()
    shown = edited.run("dvc", "metrics", "show").stdout
    assert "evaluate/causal.json" in shown
    assert "evaluate/masked.json" not in shown
    edited.set("families", ["causal", "masked", "seq2seq"])
    assert edited.repro() == []
    assert (edited.root / "data/pretrain/masked/model.safetensors").is_file()


def test_a_new_document_moves_no_other(edited: Workshop) -> None:
    """Growth: every document that was kept is still kept, in the split it was in."""
    import pyarrow.parquet as pq

    def splits() -> dict[str, str]:
        files = sorted((edited.root / "data/pack/documents").glob("*.parquet"))
        return {
            row["id"]: row["split"]
            for file in files
            for row in pq.read_table(file, columns=["id", "split"]).to_pylist()
        }

    before = splits()
    text = (
        "The new manual explains the valve and the pump. It was written by the people who built them, and they would like it to be read. "
        * 3
    )
    (edited.root / "data/sources/new.txt").write_text(text, "utf-8")
    assert edited.repro("pack") == ["collect", "clean", "dedup", "tokenizer", "pack"]
    after = splits()
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 1
    (edited.root / "data/sources/new.txt").unlink()


def test_weak_spots_reach_pack_when_asked_and_even_gives_the_first_bytes_back(edited: Workshop) -> None:
    def packed() -> dict[str, bytes]:
        return outputs(edited.root, {"outs": ["data/pack"]})

    lock, first = (edited.root / "dvc.lock").read_bytes(), packed()
    spots = edited.root / "data/promoted/weak_spots.json"
    held = spots.read_text("utf-8")
    spots.write_text(json.dumps({"causal": [{"kind": "source", "slice": "pages", "ratio": 2.0}]}), "utf-8")
    assert edited.repro() == ["pack"]  # it does not look, so what comes of it is the same
    assert packed() == first
    edited.set("pack.mixture", "from-weak-spots")
    assert edited.repro("pack") == ["pack"]
    assert edited.json("reports/pack.json")["repeated"]["documents"] > 5
    changed = {path.split("/")[2] for path, data in packed().items() if data != first[path]}
    assert changed == {"train", "documents"}
    spots.write_text(held, "utf-8")
    edited.set("pack.mixture", "even")
    assert edited.repro() == []
    assert (edited.root / "dvc.lock").read_bytes() == lock
    assert packed() == first


def test_experiments_one_and_queued(edited: Workshop) -> None:
    edited.run("dvc", "exp", "run", "-n", "one", "-S", "+pretrain.causal.weight_decay=0.3", "pretrain@causal")
    edited.run("git", "reset", "-q", "--hard")
    edited.run("dvc", "exp", "run", "--queue", "-S", "+collect.max_megabytes=8,9", "collect")
    edited.run("dvc", "queue", "start", "-j", "1")
    deadline = time.monotonic() + 180
    while re.search("Queued|Running", status := queue_status(edited)) and time.monotonic() < deadline:
        time.sleep(3)  # each question takes a second of the processor that the experiments need too
    assert status.count("Success") == 2, status
    shown = edited.run("dvc", "exp", "show", "--csv").stdout
    assert "one" in shown
    assert {"8", "9"} <= {cell for line in shown.splitlines() for cell in line.split(",")}


def queue_status(shop: Workshop) -> str:
    return shop.run("dvc", "queue", "status").stdout
