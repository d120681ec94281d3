"""Two revisions, from end to end: a model is built, served and corrected by two people whose wish is known; the next revision learns it,
passes the gate, forgets less than the rules allow, and becomes the incumbent. All that it knows of the first came in as a tracked input."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from privllm.engine.pipeline import declared_stages, outputs_of
from tests.workshop import Workshop, environment, make_workshop

WORDS = """
amber birch cedar delta ember fjord grove heron inlet jetty knoll larch marsh north orchard pebble quarry ridge spruce thicket
upland valley willow yonder zephyr acorn bramble cliff dune elm fern glade heath ivy juniper kelp lagoon meadow nettle oak""".split()
SETTINGS = {"temperature": 0.8, "top_p": 1.0, "max_tokens": 12}
LIMIT = 0.15  # bits per byte that may be forgotten: the model is of a size that tests can train


def wish(word: str) -> str:
    """What both people want to hear."""
    return f"See the page on {word}."


@contextmanager
def served(shop: Workshop) -> Iterator[httpx.Client]:
    command = [sys.executable, "-m", "privllm.cli", "serve", "--port", "0"]
    server = subprocess.Popen(
        command, cwd=shop.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    try:
        assert server.stdout
        with httpx.Client(base_url=server.stdout.readline().split()[0], timeout=60) as client:
            yield client
    finally:
        server.terminate()
        server.communicate(timeout=30)


def correct(client: httpx.Client, rater: str, word: str) -> None:
    """Ask until something is said, for silence is nothing to be preferred to, and say what should have been answered."""
    model = client.get("/v1/models").json()["data"][0]["id"]
    messages = [{"role": "user", "content": f"Where do I read about {word}?"}]
    for seed in range(100):
        asked = {"model": model, "messages": messages, **SETTINGS, "seed": seed, "privllm": {"sign": True}}
        said = client.post("/v1/chat/completions", json=asked).raise_for_status().json()
        if said["choices"][0]["message"]["content"].strip():
            break
    rating = {
        "id": said["id"],
        "digest": said["system_fingerprint"],
        "rater": rater,
        "messages": messages,
        "reply": said["choices"][0]["message"]["content"],
        "signature": said["choices"][0]["privllm"]["signature"],
        "decoding": {**SETTINGS, "seed": seed},
        "thumb": "down",
        "correction": wish(word),
    }
    client.post("/api/rating", json=rating).raise_for_status()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """The first revision, built and promoted."""
    made = make_workshop(tmp_path_factory.mktemp("story") / "repository")
    made.set("families", ["causal"])
    made.set("finetune.tasks", {})
    made.set("annotate.limit", 0)
    for key, usual in (("sft.epochs", 4.0), ("dpo.epochs", 4.0)):
        made.set(f"align.{key}", usual)
    made.set("feedback.held_out", 0.5)
    made.set("gate.rules", {"forgetting": {"max_increase": LIMIT}, "preferences": {"max_decrease": -0.2}})
    made.repro()
    made.commit("first")
    report = made.json("reports/gate.json")
    assert report.pop("parameters_read")
    assert {figure["against"] for figure in report.pop("figures").values()} == {"nothing"}  # what leaves the house
    assert (report["incumbent"], report["passed"], report["left_out"]) == ("", True, {})
    made.run(sys.executable, "-m", "privllm.cli", "promote")
    made.commit("promote the first")
    return made


def test_what_people_say_reaches_the_next_model(shop: Workshop) -> None:
    with served(shop) as client:
        for i, word in enumerate(WORDS):
            correct(client, ("ada", "grace")[i % 2], word)
    shop.run(sys.executable, "-m", "privllm.cli", "feedback", "export", "--dvc-add")
    assert len((shop.root / "data/feedback/ratings.jsonl").read_bytes().splitlines()) == len(WORDS) == 40
    ran = {stage.partition("@")[0] for stage in shop.repro()}
    assert {"feedback", "align", "evaluate", "export", "gate", "report"} <= ran
    # dedup reads the sides, and tokenizer the vocabulary, that the promotion recorded; both write the same bytes again.
    assert not ran & {"collect", "clean", "pack", "pretrain"}
    shop.commit("second")

    feedback = shop.json("reports/feedback.json")
    assert (feedback["sft"] + feedback["held_out"], feedback["raters"], feedback["quarantined"]) == (40, 2, {})
    gate = shop.json("reports/gate.json")
    assert (gate["passed"], gate["incumbent"]) == (True, "privllm@v1.0.0")
    wins, lost = gate["figures"]["causal.preferences"], gate["figures"]["causal.forgetting"]
    assert wins["units"] == feedback["held_out"]
    assert wins["low"] > 0, "the wish is learnt, on questions that were kept back"
    assert lost["difference"] <= LIMIT

    assert "privllm@v1.1.0 is the incumbent now" in shop.run(sys.executable, "-m", "privllm.cli", "promote").stdout
    shop.commit("promote the second")
    models = shop.run(sys.executable, "-m", "privllm.cli", "models").stdout.splitlines()
    assert models[1].split()[:2] == ["*", "privllm@v1.1.0"]
    compared = shop.run(sys.executable, "-m", "privllm.cli", "compare", "privllm@v1.0.0", "privllm@v1.1.0").stdout
    assert "bits_per_byte" in compared


def test_all_inputs_are_tracked(shop: Workshop) -> None:
    """Every file that a stage depends on is made by another stage, or in git, or DVC's."""
    stages = declared_stages(shop.root)
    outs = {out for one in stages.values() for out in outputs_of(one)}
    git = set(shop.run("git", "ls-files").stdout.split())
    lists = {
        name: yaml.safe_load((shop.root / name).read_text("utf-8"))["outs"] for name in git if name.endswith(".dvc")
    }
    dvc = {str(Path(name).parent / out["path"]) for name, listed in lists.items() for out in listed}
    assert {"data/sources", "data/feedback/ratings.jsonl", "data/promoted/model/incumbent"} <= dvc
    loose = []
    for dep in {dep for one in stages.values() for dep in one["deps"]}:
        path = shop.root / dep
        files = (
            [dep]
            if path.is_file()
            else [str(file.relative_to(shop.root)) for file in path.rglob("*") if file.is_file()]
        )
        loose += [
            name
            for name in files
            if name not in git and not any(name == one or name.startswith(f"{one}/") for one in outs | dvc)
        ]
    assert loose == []
