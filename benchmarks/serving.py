"""64 people stream from `privllm serve` for a minute on two cores: errors, mixed-up replies, tokens a second, waiting, memory.

Every reply is compared with what `privllm.models.generate` says alone to the same words. The peers run after it, over the same HTTP, with
the same model, the same words and as many people: a loop that answers one after the other (ours with a batch of one), and
`transformers serve`, with and without its continuous batching. Build the demo first (`make run`), or name a model's folder.
"""

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

PEOPLE = 64
SECONDS = 60.0
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
WORDS = [f"{opening} {i}" for i, opening in enumerate(OPENINGS * 8)][:PEOPLE]


@dataclass
class Tally:
    """What the people saw."""

    waits: list[float] = field(default_factory=list)  # seconds to the first text
    pieces: int = 0
    replies: int = 0
    cut: int = 0  # replies still under way at the end
    errors: list[str] = field(default_factory=list)
    heard: dict[str, set[str]] = field(default_factory=dict)  # words -> whole replies
    memory: dict[str, float] = field(default_factory=dict)  # MB


def oracle(folder: Path) -> dict[str, str]:
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
    for words in WORDS:
        prompt = prompt_format.encode(GenerationRequest(None, words, SamplingSettings()))
        detokenizer = Detokenizer(prompt_format.decode)
        pieces = [detokenizer.add(token) for token in generate(model, prompt, SamplingConfig(REPLY, 0.0), special)]
        replies[words] = "".join(pieces) + detokenizer.flush()
    return replies


async def person(
    client: httpx.AsyncClient, ask: Callable[[str], tuple[str, dict]], words: str, tally: Tally, seconds: float
) -> None:
    """Asks again and again until the time is over; a reply that is under way then is cut off and not compared."""
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
                tally.heard.setdefault(words, set()).add(text)
    except TimeoutError:
        tally.cut += 1


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


async def minute(url: str, pid: int, ask: Callable[[str], tuple[str, dict]]) -> Tally:
    tally, start = Tally(), time.perf_counter()
    limits = httpx.Limits(max_connections=PEOPLE)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits, trust_env=False) as client:

        async def watch() -> None:
            for name, at in (("start", 0.0), ("10 s", 10.0), ("end", SECONDS)):
                await asyncio.sleep(max(0.0, start + at - time.perf_counter()))
                tally.memory[name] = memory(pid)

        await asyncio.gather(watch(), *(person(client, ask, words, tally, SECONDS) for words in WORDS))
    return tally


def memory(pid: int) -> float:
    """Resident memory in MB."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return round(int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def measure(
    name: str, command: list[str], ask: Callable[[str, str], tuple[str, dict]], wanted: dict[str, str]
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
            tally = asyncio.run(minute(url, server.pid, lambda words: ask(model, words)))
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
        "pieces/s": round(tally.pieces / SECONDS, 1),
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


def main() -> None:
    """`python -m benchmarks.serving [FOLDER]`"""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "data/export/causal").resolve()
    OUT.mkdir(exist_ok=True)
    wanted = oracle(folder)

    def ask(model: str, words: str) -> tuple[str, dict]:
        return "/v1/completions", {
            "model": model,
            "prompt": words,
            "max_tokens": REPLY,
            "temperature": 0,
            "stream": True,
        }

    def ask_peer(model: str, words: str) -> tuple[str, dict]:
        return "/v1/completions", {
            "model": str(folder),
            "prompt": f"<|endoftext|>{words}",
            "max_tokens": REPLY,
            "temperature": 0,
            "stream": True,
        }

    ours = [sys.executable, "-m", "privllm.cli", "serve", str(folder), "--port"]
    servers: list[tuple[str, list[str], Any]] = [
        ("privllm serve, --batch 64", [*ours, "8101", "--batch", "64"], ask),
        ("privllm serve, --batch 1 (one after the other)", [*ours, "8102", "--batch", "1"], ask),
    ]
    if program := shutil.which("transformers", path=str(Path(sys.executable).parent)):
        peer = [program, "serve", "--port"]
        servers += [
            ("transformers serve", [*peer, "8103", str(folder)], ask_peer),
            (
                "transformers serve --continuous-batching",
                [*peer, "8104", "--continuous-batching", str(folder)],
                ask_peer,
            ),
        ]
    rows = []
    for name, command, asks in servers:
        rows.append(measure(name, command, asks, wanted))
        print(json.dumps(rows[-1]), flush=True)
    write_result(
        "serving", {"people": PEOPLE, "seconds": SECONDS, "cores": len(CORES), "tokens a reply": REPLY, "rows": rows}
    )


if __name__ == "__main__":
    main()
