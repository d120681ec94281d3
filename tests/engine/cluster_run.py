"""Run by test_cluster.py in a network namespace of its own: a Ray cluster of two nodes, and what may go wrong with it.

Ray puts the machine's own address in the place of 127.0.0.1, so only where there is no other does it listen on nothing else.
Prints one line of JSON. Its only argument is a repository in which collect has run.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from ray.cluster_utils import Cluster

import privllm.core.offline  # noqa: F401
from privllm.core.errors import UserError
from privllm.engine import executor_ray as cluster_module
from privllm.engine.executor_ray import RayExecutor
from privllm.engine.fingerprint import fingerprint

STAGE = ["-m", "stages.clean", "data/collect", "data/clean", "reports/clean.json"]
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20}


def refuse(path: Path) -> None:
    raise UserError(f"{path.name} is wrong")


def die(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def said(address: str, function: object, stage: str = "clean") -> str:
    try:
        RayExecutor(address, stage)(
            function, [(path,) for path in sorted(Path("data/collect").glob("*.parquet"))[:3]], "said", 0
        )
    except UserError as error:
        return str(error)
    return ""


def attempts() -> set[str]:
    try:
        return {path.name for path in Path("data/clean/.scratch").iterdir()}
    except FileNotFoundError:  # not there yet, or no longer
        return set()


def finished(before: int) -> int:
    return len(list(Path(".dvc/cache/privllm/actions").rglob("*.json"))) - before


def kill_in_mid_run(cluster: Cluster, node: object) -> dict[str, object]:
    """The stage, with one of two nodes killed once some shards are finished and others are being worked on by both."""
    before = finished(0)
    stage = subprocess.Popen([sys.executable, *STAGE])
    seen: set[str] = set()
    while stage.poll() is None and not (finished(before) >= 3 and len(seen) - finished(before) == 2):
        seen |= attempts()
        time.sleep(0.005)
    at_kill = finished(before)
    for process in node.all_processes["raylet"]:  # type: ignore[attr-defined]
        raylet = psutil.Process(process.process.pid)
        for one in [*raylet.children(recursive=True), raylet]:
            one.kill()
    while stage.poll() is None:
        seen |= attempts()
        time.sleep(0.005)
    jobs = [name.partition("-")[0] for name in seen]
    return {"code": stage.wait(), "finished_at_kill": at_kill, "attempts": len(jobs), "jobs": len(set(jobs))}


def main() -> None:
    os.chdir(sys.argv[1])
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    second = cluster.add_node(**NODE)
    Path("params.yaml").write_text(
        Path("params.yaml").read_text().replace("executor: {}", f"executor: {{address: {cluster.address}}}")
    )
    result: dict[str, object] = {"refuse": said(cluster.address, refuse)}
    cluster_module.RETRIES = 0  # each costs the start of a worker
    result["die"] = said(cluster.address, die)
    Path("stages/other.py").write_text("")
    other = fingerprint(Path(), "stages.other") | {"libraries": {"numpy": "0.0.1"}}
    Path("data/fingerprint/other.json").write_text(json.dumps(other))
    result["other_library"] = said(cluster.address, refuse, "other")
    start = time.perf_counter()
    result["killed"] = kill_in_mid_run(cluster, second)
    result["seconds"] = round(time.perf_counter() - start, 1)
    result["left"] = [str(path) for path in (*Path(".privllm").glob("beacon-*"), *Path("data/clean").glob(".scratch*"))]
    cluster.shutdown()
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
