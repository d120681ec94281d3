"""The guide 'In a team', step by step with two clones: every command block of docs/guides/team.md is run as it stands there.

The stages are ours, up to `clean`; a remote is a folder, and an S3 server on this machine.
"""

import importlib.util
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workshop import ROOT, Workshop, make_workshop

GUIDE = (ROOT / "docs/guides/team.md").read_text("utf-8")
BLOCK = re.compile(r"^```bash\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
KEPT = ("fingerprint", "collect", "clean")
SHARDS = 16
HAS_S3 = all(importlib.util.find_spec(name) for name in ("dvc_s3", "moto", "flask"))
NEEDS_S3 = "needs dvc-s3 and moto (`make .venv/moto`): nothing proves that a build travels over S3"
COMMAND = '#!/bin/sh\nexec python -m privllm.cli "$@"\n'
KINDS = [pytest.param("s3", marks=pytest.mark.skipif(not HAS_S3, reason=NEEDS_S3))]
if os.environ.get("PRIVLLM_NIGHTLY"):  # the same over a folder, which needs less
    KINDS.append(pytest.param("folder"))


def blocks(heading: str) -> list[str]:
    """Return the command blocks of a section of the guide."""
    section = GUIDE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = BLOCK.findall(section)
    assert found, f"{heading} has no commands"
    return found


def test_every_block_of_the_guide_is_run() -> None:
    text = Path(__file__).read_text("utf-8")
    for heading in re.findall(r"^## (.*)$", GUIDE, flags=re.MULTILINE):
        if "```bash" in GUIDE.split(f"\n## {heading}\n")[1].split("\n## ")[0]:
            assert f'blocks("{heading}")' in text


class Member:
    """One clone, in which the guide's commands run."""

    def __init__(self, shop: Workshop, places: dict[str, str], keys: dict[str, str]) -> None:
        self.shop, self.root, self.places, self.keys = shop, shop.root, places, keys

    def follow(self, block: str) -> str:
        """Run a block of the guide, with this test's places for its own; return what it said."""
        for place, ours in self.places.items():
            block = block.replace(place, ours)
        binaries = self.root.parent / "bin"
        script = f"set -eo pipefail\nexport PATH={binaries}:$PATH\n{block}"
        return self.shop.run("bash", "-c", script, **self.keys).stdout

    def made(self) -> dict[str, tuple[int, int]]:
        """Return {stage: (shards made, shards)} of the last run of each stage."""
        lines = (self.root / ".privllm/log.jsonl").read_text().splitlines()
        entries = {entry["stage"]: entry for entry in map(json.loads, lines)}
        return {stage: (entry["made"], entry["shards"]) for stage, entry in entries.items() if "made" in entry}

    def write(self, name: str, text: str) -> None:
        (self.root / "data/sources" / name).write_text(text)

    def sources(self) -> set[str]:
        return {path.name for path in (self.root / "data/sources").rglob("*") if path.is_file()}


class Team:
    """Two members, the git repository between them, and where the guide's places are."""

    def __init__(self, root: Path, url: str, keys: dict[str, str]) -> None:
        self.root, self.keys = root, keys
        self.places = {
            "/mnt/team/storage": str(root / "storage"),
            "s3://bucket/folder": url or "s3://bucket/folder",
            "/mnt/team/cache": str(root / "cache"),
            "/mnt/team/documents": str(root / "documents"),
            "YOUR-KEY": "key",
            "YOUR-SECRET": "secret",
        }
        (root / "bin").mkdir()
        (root / "bin/privllm").write_text(COMMAND)
        (root / "bin/privllm").chmod(0o755)
        shop = make_workshop(root / "first", KEPT)
        shop.run("git", "clone", "-q", "--bare", str(shop.root), str(root / "hub.git"))
        shop.run("git", "remote", "add", "origin", str(root / "hub.git"))
        shop.run("git", "fetch", "-q")
        shop.run("git", "branch", "-q", "--set-upstream-to=origin/main", "main")
        self.first = Member(shop, self.places, keys)

    def join(self, name: str) -> Member:
        """Return a member with a fresh clone."""
        member = Member(Workshop(self.root / name), self.places, self.keys)
        self.first.shop.run("git", "clone", "-q", str(self.root / "hub.git"), str(member.root))
        member.shop.run("git", "config", "user.name", name)
        member.shop.run("git", "config", "user.email", f"{name}@localhost")
        return member


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The address of an S3 server on this machine, with one bucket."""
    from boto3 import client
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    client("s3", endpoint_url=address, **keys).create_bucket(Bucket="bucket")
    yield address
    server.stop()


@pytest.mark.proof
@pytest.mark.parametrize("kind", KINDS)
def test_a_team_shares_builds_and_merges_documents(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    keys = {}
    if kind == "s3":
        keys = {"AWS_ENDPOINT_URL": request.getfixturevalue("endpoint"), "AWS_DEFAULT_REGION": "us-east-1"}
    team = Team(tmp_path, "", keys)
    share, on_s3 = blocks("Share a build")
    add_folder, rest = share.split("\n", 1)
    secrets = ""
    if kind == "s3":
        add_s3, secrets = on_s3.split("\n", 1)
        team.first.follow(f"{add_s3}\n{secrets}{rest}")
    else:
        team.first.follow(f"{add_folder}\n{rest}")

    second = team.join("second")
    said = second.follow(secrets + blocks("Join")[0])
    assert "the same bytes" in said
    assert "Running stage" not in said, "dvc.lock says all that there is to build"

    second.write("notes.md", "# Notes\n\nThe committee met on Friday and wrote a report about the roof.")
    second.follow(blocks("Join")[1])
    assert second.made() == {"collect": (1, SHARDS), "clean": (1, SHARDS)}

    # Meanwhile the first has added another document, without having seen that edit.
    (configure,), merge = blocks("Merge documents")[:1], blocks("Merge documents")[1]
    team.first.write("garden.txt", "The garden behind the house needs water every evening in the summer.")
    team.first.follow(configure + "dvc repro\ngit add -A\ngit commit -qm 'Add a document'\n")
    said = team.first.follow(merge)
    assert "conflict" in said.lower(), "both have built, so dvc.lock differs"
    assert "garden.txt" in team.first.sources()
    assert "roof" in (team.first.root / "data/sources/notes.md").read_text()
    assert "<<<<" not in (team.first.root / "dvc.lock").read_text()

    second.follow("git pull -q\nprivllm pull\n")
    assert second.sources() == team.first.sources()
    assert "Running stage" not in second.follow("dvc repro\n")


@pytest.mark.proof
def test_clones_share_a_cache(tmp_path: Path) -> None:
    team = Team(tmp_path, "", {})
    fill, share = blocks("Share a cache")
    team.first.follow(fill + share + "dvc repro\ngit add -A\ngit commit -qm build\ngit push -q\n")
    second = team.join("second")
    second.follow(share)
    assert "Running stage" not in second.follow("dvc repro\n")
    second.write("notes.md", "# Notes\n\nThe committee met on Friday and wrote a report about the roof.")
    second.follow("dvc repro\n")
    assert second.made() == {"collect": (1, SHARDS), "clean": (1, SHARDS)}


@pytest.mark.proof
def test_sources_are_imported_from_elsewhere(tmp_path: Path) -> None:
    team = Team(tmp_path, "", {})
    documents = tmp_path / "documents"
    shutil.copytree(team.first.root / "data/sources", documents)
    fetch, update = blocks("Documents that live elsewhere")
    team.first.follow(fetch)
    (documents / "garden.txt").write_text("The garden behind the house needs water every evening in the summer.")
    said = team.first.follow(update)
    assert "Running stage 'clean'" in said
    assert "garden.txt" in team.first.sources()
    assert team.first.made() == {"collect": (1, SHARDS), "clean": (1, SHARDS)}
