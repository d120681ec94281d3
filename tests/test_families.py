"""`families: [causal]` builds only that one: tasks of the others are skipped with a note, and nothing waits for what nobody reads."""

import json
from pathlib import Path

from tests.workshop import make_workshop

GAPS = {
    "kind": "tokens",
    "family": "masked",
    "data": "data/tasks/gaps.jsonl",
    "start": "data/pretrain/masked",
    "epochs": 0.1,
}


def test_a_task_of_a_family_that_is_not_built(tmp_path: Path) -> None:
    shop = make_workshop(tmp_path / "repo")
    shop.set("families", ["causal"])
    shop.set("annotate.limit", 60_000)  # enough for documents of each split
    shop.set("finetune.tasks", shop.set("finetune.tasks", {}) | {"gaps": GAPS})
    note = "finetune@gaps: skipped with a note, since `families` does not name masked."
    planned = shop.run("python", "-m", "privllm.cli", "plan").stdout
    assert note in planned

    done = shop.run("dvc", "repro")
    assert "finetune.tasks.gaps is skipped" in done.stderr + done.stdout
    assert shop.json("reports/finetune/gaps.json")["skipped"].startswith("it begins with data/pretrain/masked")
    assert "families" not in str(shop.json("reports/finetune/questions.json"))  # its family is built
    for family in ("masked", "seq2seq"):
        assert [path.name for path in (shop.root / "data/pretrain" / family).iterdir()] == ["skipped.json"]
        assert not (shop.root / "data/align" / family).exists()
    assert (shop.root / "data/export/causal/model.safetensors").is_file()

    annotated = shop.json("reports/annotate.json")
    assert annotated["by_split"]["train"] == annotated["by_split"]["test"] == 0
    assert annotated["by_split"]["validation"] > 0 < annotated["unread"]
    assert shop.json("reports/evaluate/causal.json")["by_pos"]

    assert shop.repro() == []
    planned = shop.run("python", "-m", "privllm.cli", "plan").stdout
    assert "Nothing would run." in planned
    assert note in planned
    logged = [json.loads(line) for line in (shop.root / ".privllm/log.jsonl").read_text("utf-8").splitlines()]
    assert {"pretrain@masked", "pretrain@seq2seq", "finetune@gaps"} <= {
        line["stage"] for line in logged if line.get("skipped")
    }
    assert "pretrain@causal" in {line["stage"] for line in logged if not line.get("skipped")}
