"""64 people stream from `privllm serve` for a minute on two cores: errors, mixed-up replies, tokens a second, waiting, memory.

Every reply is compared with what `privllm.models.generate` says alone to the same words. The peers run after it, over the same HTTP, with
the same model, the same words and as many people: a loop that answers one after the other (ours with a batch of one),
`transformers serve`, with and without its continuous batching, and llama.cpp (`node-llama-cpp`, fetched by npm) on the model's GGUF, whose
weights are f16. Build the demo first (`make run`), or name a model's folder; `--only` measures the servers whose names hold a word.
"""

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

import privllm.core.offline  # noqa: F401  (the peers inherit it)
from benchmarks.common import OUT, ROOT, write_result

LLAMA_CPP = "node-llama-cpp@3.21.1"
CORES = {0, 1}
REPLY = 48  # tokens
OPENINGS = [
    "The module",
    "Return the",
    "class",
    "If the file",
    "This function",
    "Raises",
    "A list of",
    "Changed in version",
    "Note that",
]
WORDS = [f"{opening} {i}" for i, opening in enumerate(OPENINGS * 8)]


@dataclass(frozen=True)
class Load:
    """How many people ask, and for how long."""

    people: int = 64
    seconds: float = 60.0

    @property
    def words(self) -> list[str]:
        return WORDS[: self.people]


@dataclass
class Tally:
    """What the people saw."""

    waits: list[float] = field(default_factory=list)  # seconds to the first text
    pieces: int = 0
    replies: int = 0
    cut: int = 0  # replies still under way at the end
    errors: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)  # all text, of replies that were cut too
    heard: dict[str, set[str]] = field(default_factory=dict)  # words -> whole replies
    memory: dict[str, float] = field(default_factory=dict)  # MB


def oracle(folder: Path, people: int) -> dict[str, str]:
    """{words: what the model says to them alone}."""
    import torch

    from privllm.models.generate import SamplingConfig, generate
    from privllm.serve.engine.base import GenerationRequest, SamplingSettings
    from privllm.serve.engine.detokenizer import Detokenizer
    from privllm.serve.engine.prompting import open_folder
    from privllm.tokens.special_ids import special_ids

    torch.set_num_threads(1)
    model, prompt_format = open_folder(folder)
    special = special_ids(folder)
    replies = {}
    for words in WORDS[:people]:
        prompt = prompt_format.encode(GenerationRequest(None, words, SamplingSettings()))
        detokenizer = Detokenizer(prompt_format.decode)
        pieces = [detokenizer.add(token) for token in generate(model, prompt, SamplingConfig(REPLY, 0.0), special)]
        replies[words] = "".join(pieces) + detokenizer.flush()
    return replies


async def person(
    client: httpx.AsyncClient, ask: Callable[[str], tuple[str, dict]], words: str, tally: Tally, seconds: float
) -> None:
    """Asks again and again until the time is over; a reply that is under way then is cut off and not compared."""
    text = ""
    try:
        async with asyncio.timeout(seconds):
            while True:
                start, text = time.perf_counter(), ""
                try:
                    async for piece in pieces(client, *ask(words)):
                        if not text:
                            tally.waits.append(time.perf_counter() - start)
                        text += piece
                        tally.pieces += 1
                except (httpx.HTTPError, ValueError, KeyError) as error:
                    tally.errors.append(f"{type(error).__name__}: {error}"[:200])
                    continue
                tally.replies += 1
                tally.said.append(text)
                tally.heard.setdefault(words, set()).add(text)
    except TimeoutError:
        tally.cut += 1
        tally.said.append(text)


async def pieces(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> AsyncIterator[str]:
    async with client.stream("POST", path, json=body) as answer:
        if answer.status_code != 200:
            raise ValueError(f"{answer.status_code} {(await answer.aread())[:150]!r}")
        async for line in answer.aiter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            chunk = json.loads(line[6:])
            if "error" in chunk:
                raise ValueError(str(chunk["error"]))
            choice = (chunk["choices"] or [{}])[0]
            text = choice.get("text") or (choice.get("delta") or {}).get("content")
            if text:
                yield text


async def minute(load: Load, url: str, pid: int, ask: Callable[[str], tuple[str, dict]]) -> Tally:
    tally, start = Tally(), time.perf_counter()
    limits = httpx.Limits(max_connections=load.people)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits, trust_env=False) as client:

        async def watch() -> None:
            for name, at in (("start", 0.0), ("10 s", min(10.0, load.seconds / 2)), ("end", load.seconds)):
                await asyncio.sleep(max(0.0, start + at - time.perf_counter()))
                tally.memory[name] = memory(pid)

        await asyncio.gather(watch(), *(person(client, ask, words, tally, load.seconds) for words in load.words))
    return tally


def memory(pid: int) -> float:
    """Resident memory in MB."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return round(int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def measure(
    load: Load,
    name: str,
    command: list[str],
    ask: Callable[[str, str], tuple[str, dict]],
    wanted: dict[str, str],
    count_tokens: Callable[[str], int],
) -> dict[str, Any]:
    """Start a server, let the people at it, stop it; one row of the table."""
    with tempfile.TemporaryDirectory() as folder, (OUT / "serving.log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
        try:
            os.sched_setaffinity(server.pid, CORES)
            url, model = ready(command, server)
            asyncio.run(warm(url, ask, model))
            tally = asyncio.run(minute(load, url, server.pid, lambda words: ask(model, words)))
        except (httpx.HTTPError, RuntimeError) as error:
            return {"server": name, "failed": str(error)[:300]}
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
    waits = sorted(tally.waits) or [float("nan")]
    return {
        "server": name,
        "requests": tally.replies,
        "tokens/s": round(sum(map(count_tokens, tally.said)) / load.seconds, 1),
        "pieces/s": round(tally.pieces / load.seconds, 1),
        "first text p50 s": round(statistics.median(waits), 3),
        "first text p95 s": round(waits[int(0.95 * (len(waits) - 1))], 3),
        "errors": len(tally.errors),
        "other than alone": sum(text != wanted[words] for words, texts in tally.heard.items() for text in texts),
        "someone else's": sum(words != other and text == wanted[other] and text != wanted[words]
                              for words, texts in tally.heard.items() for text in texts for other in wanted),
        "MB": " / ".join(f"{value:.0f}" for value in tally.memory.values()),
        "first errors": tally.errors[:3],
    }  # fmt: skip


def ready(command: list[str], server: subprocess.Popen) -> tuple[str, str]:
    """(address, the model's name) once it answers. Raises RuntimeError where it ends, or does not within two minutes."""
    url = f"http://127.0.0.1:{command[command.index('--port') + 1]}"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(
                f"it ended with code {server.returncode}: {(OUT / 'serving.log').read_text('utf-8', 'replace')[-200:]}"
            )
        try:
            listed = httpx.get(f"{url}/v1/models", timeout=5, trust_env=False)
            return url, listed.json()["data"][0]["id"] if listed.status_code == 200 else ""
        except httpx.HTTPError:
            time.sleep(0.3)
    raise RuntimeError("it did not answer within two minutes")


async def warm(url: str, ask: Callable[[str, str], tuple[str, dict]], model: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        try:
            async for _ in pieces(client, *ask(model, "The")):
                pass
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise RuntimeError(f"a first request failed within 60 s: {type(error).__name__} {error}") from error


def llama_cpp(folder: Path, people: int) -> list[str]:
    """Return the command of llama.cpp's server on the model's GGUF, but for its threads; [] where npm is missing."""
    from privllm.export.gguf import write_gguf

    npm = shutil.which("npm")
    if not npm:
        return []
    place = OUT / "npm"
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "node_modules/node-llama-cpp").is_dir():
        (place / "package.json").write_text('{"private": true}')
        # its scripts would look for a compiler; the binaries are packages of their own
        command = [npm, "install", LLAMA_CPP, "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=place, check=True, capture_output=True, timeout=900)
    script = place / "llama_server.mjs"  # beside the library, where node looks for it
    shutil.copyfile(Path(__file__).with_name(script.name), script)
    write_gguf(folder, "f16", OUT / "serving.gguf", "serving")
    context = json.loads((folder / "config.json").read_text())["max_position_embeddings"]
    return ["node", str(script), "--port", "8105", str(OUT / "serving.gguf"), str(people), str(context)]


def servers(folder: Path, people: int) -> list[tuple[str, list[str], Callable[[str, str], tuple[str, dict]]]]:
    """Return every server: its name, its command, and how it is asked."""

    def ask(model: str, words: str) -> tuple[str, dict]:
        body = {"model": model, "prompt": words, "max_tokens": REPLY, "temperature": 0, "stream": True}
        return "/v1/completions", body

    def ask_peer(model: str, words: str) -> tuple[str, dict]:
        path, body = ask(str(folder), words)
        return path, body | {"prompt": f"<|endoftext|>{words}"}

    ours = [sys.executable, "-m", "privllm.cli", "serve", str(folder), "--port"]
    listed: list[tuple[str, list[str], Any]] = [
        ("privllm serve, --batch 64", [*ours, "8101", "--batch", "64"], ask),
        ("privllm serve, --batch 1 (one after the other)", [*ours, "8102", "--batch", "1"], ask),
    ]
    if program := shutil.which("transformers", path=str(Path(sys.executable).parent)):
        peer = [program, "serve", "--port"]
        batching = [*peer, "8104", "--continuous-batching", str(folder)]
        listed += [
            ("transformers serve", [*peer, "8103", str(folder)], ask_peer),
            ("transformers serve --continuous-batching", batching, ask_peer),
        ]
    if command := llama_cpp(folder, people):
        for threads in ("1", "2"):  # two wait for each other in a loop, and so lose where others use the cores too
            name = f"llama.cpp (node-llama-cpp, f16), threads: {threads}"
            listed.append((name, [*command, threads], ask_peer))
    return listed


def main() -> None:
    """`python -m benchmarks.serving [FOLDER] [--people 64] [--seconds 60] [--only WORD]`"""
    from tokenizers import Tokenizer

    options = argparse.ArgumentParser()
    options.add_argument("folder", nargs="?", type=Path, default=ROOT / "data/export/causal")
    options.add_argument("--people", type=int, default=Load.people)
    options.add_argument("--seconds", type=float, default=Load.seconds)
    options.add_argument("--only", default="", help="measure only the servers whose names hold this")
    arguments = options.parse_args()
    folder, load = arguments.folder.resolve(), Load(arguments.people, arguments.seconds)
    OUT.mkdir(exist_ok=True)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    wanted = oracle(folder, load.people)
    rows = []
    for name, command, asks in servers(folder, load.people):
        if arguments.only in name:
            rows.append(measure(load, name, command, asks, wanted, lambda text: len(tokenizer.encode(text).ids)))
            print(json.dumps(rows[-1]), flush=True)
    whole = {"people": load.people, "seconds": load.seconds, "cores": len(CORES), "tokens a reply": REPLY, "rows": rows}
    write_result("serving", whole)


if __name__ == "__main__":
    main()
