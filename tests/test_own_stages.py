"""A dvc.yaml is its owner's: whatever DVC accepts in it beside our stages, ours run, are planned and audited."""

from pathlib import Path

from tests.workshop import make_workshop

OWN = """
  letters:
    matrix:
      part: ${mine.parts}
      size: [1, 2]
    vars: [{how: wc}]
    wdir: data
    cmd:
      - mkdir -p letters
      - |
        find collect -type f | ${how} -l > letters/${item.part}-${item.size}.txt
    deps: [collect]
    params:
      - ../more.yaml: [limit]
    outs: ["letters/${item.part}-${item.size}.txt"]
vars:
  - more.yaml
  - mine: {parts: [a, b]}
artifacts:
  corpus: {path: data/clean, type: dataset}
"""


def test_own_stages_run_beside_ours(tmp_path: Path) -> None:
    shop = make_workshop(tmp_path / "repo")
    dvc_yaml = shop.root / "dvc.yaml"
    dvc_yaml.write_text(dvc_yaml.read_text("utf-8") + OWN, "utf-8")
    deps = "deps: [data/collect, data/fingerprint/clean.json]"
    shop.edit("dvc.yaml", deps, deps.replace("data/fingerprint", "data/letters/b-2.txt, data/fingerprint"))
    (shop.root / "more.yaml").write_text("limit: 3\n", "utf-8")
    ran = shop.repro("clean")
    assert ran.index("letters@b-2") < ran.index("clean")
    assert shop.repro("clean") == []
    assert "letters@a-1" in shop.run("python", "-m", "privllm.cli", "plan").stdout
    audited = shop.run("python", "-m", "privllm.cli", "audit").stdout.splitlines()
    assert [line.split()[0] for line in audited if "the same bytes" in line] == ["collect", "clean"]
    assert not any("letters" in line for line in audited)
