"""Tasks of local files for lm-evaluation-harness, the program that runs it, and our own log-likelihood of the same texts."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from privllm.models.loading import load
from privllm.models.scorers import score_next_tokens
from privllm.tokens.encode import Encoder
from privllm.tokens.special_ids import special_ids

ROLLING = """
task: held_out
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/texts.jsonl}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list: [{{metric: bits_per_byte}}, {{metric: byte_perplexity}}]
"""
CLOZE = """
task: cloze
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/cloze.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{opening}}}}"
doc_to_choice: "{{{{endings}}}}"
doc_to_target: "{{{{right}}}}"
metric_list: [{{metric: acc}}]
"""
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}


def write_tasks(folder: Path, texts: list[str], cloze: list[dict[str, Any]]) -> None:
    """Write two tasks, `held_out` and `cloze`, and what they ask."""
    folder.mkdir()
    for name, rows in (("texts", [{"text": text} for text in texts]), ("cloze", cloze)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "held_out.yaml").write_text(ROLLING.format(folder=folder))
    (folder / "cloze.yaml").write_text(CLOZE.format(folder=folder))


def evaluated(python: Path, tasks: Path, model: str, arguments: dict[str, Any], out: Path) -> dict[str, Any]:
    """Run the harness's own program; return {task: {metric: figure}}."""
    model_arguments = ",".join(f"{name}={value}" for name, value in arguments.items())
    command = [
        *(python, "-m", "lm_eval", "--model", model, "--model_args", model_arguments),
        *("--include_path", tasks, "--tasks", "held_out,cloze", "--output_path", out, "--device", "cpu"),
        *("--log_samples", "--batch_size", "1"),
    ]
    environment = os.environ | OFFLINE | {"HF_HOME": str(out / "home"), "OPENAI_API_KEY": "none"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, cwd=tasks)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (results,) = out.rglob("results_*.json")
    return json.loads(results.read_text())["results"]


def own_nats(folder: Path, texts: list[str], openings: list[str]) -> np.ndarray:
    """Return the negative log-likelihood of each text's tokens after an opening.

    "": those of a whole document, which begins with the mark before all documents, as `evaluate` scores it. After
    an opening the harness puts no mark before that.
    """
    model, special, encoder = load("causal", folder), special_ids(folder), Encoder.open(folder)
    rows, skipped = [], []
    for text, opening in zip(texts, openings, strict=True):
        ids = encoder.encode([opening + text])[0]
        rows.append(ids if opening else np.array([special.begin, *ids], np.int32))
        skipped.append(len(encoder.encode([opening])[0]) - 1 if opening else 0)
    scored = score_next_tokens(model, special, rows, [0] * len(rows))
    return np.array([scores.nats[first:].sum() for scores, first in zip(scored, skipped, strict=True)])
