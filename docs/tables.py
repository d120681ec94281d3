"""The README's tables, generated: stages from dvc.yaml, parameters from params.yaml, commands from the command line.

`python docs/tables.py` rewrites README.md between its markers; tests/test_house.py fails when it would.
"""

import re
from collections.abc import Callable
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def stages_table() -> str:
    """One row per stage of dvc.yaml: what it does, and where its parameters and outputs are."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))["stages"]
    rows = ["| stage | what it does | parameters | outputs |", "|---|---|---|---|"]
    for name, stage in stages.items():
        stage = stage.get("do", stage)
        reports = [next(iter(entry)) for entry in [*stage.get("plots", []), *stage.get("metrics", [])] if isinstance(entry, dict)]
        outs = [*stage["outs"], *reports]
        stage = {key: value for key, value in stage.items() if key != "matrix"}
        params = ", ".join(f"`{p}`" for p in stage.get("params", [])) or "none"
        rows.append(f"| `{name}` | {stage['desc']} | {params} | {', '.join(f'`{path}`' for path in outs)} |")
    return re.sub(r"\$\{(item\.)?(\w+)\}", r"<\2>", "\n".join(rows).replace("${key}", "<task>"))


def parameters_table() -> str:
    """One row per literal key of params.yaml, its comment being the explanation."""
    rows = ["| parameter | default | meaning |", "|---|---|---|"]
    path: list[str] = []
    for line in (ROOT / "params.yaml").read_text("utf-8").splitlines():
        found = re.match(r"( *)([a-z_0-9]+):(?: ([^#]*?))?(?:\s+# (.*))?$", line)
        if not found:
            continue
        path = [*path[: len(found[1]) // 2], found[2]]
        if found[3]:
            value = found[3].strip().replace("|", "\\|")
            rows.append(f"| `{'.'.join(path)}` | `{value}` | {found[4] or ''} |")
    return "\n".join(rows)


def commands_table() -> str:
    """One row per `privllm` command, with the first sentence of its help."""
    rows = ["| command | what it does |", "|---|---|"]
    for words, function in all_commands():
        sentence = (function.__doc__ or "").strip().split("\n\n")[0]
        rows.append(f"| `privllm {' '.join(words)}` | {' '.join(sentence.split())} |")
    return "\n".join(rows)


def all_commands() -> list[tuple[list[str], Callable[..., object]]]:
    """(its words, its function) of every `privllm` command, those of groups last."""
    from privllm.cli.app import app

    found = []
    for words, group in [([], app), *(([g.name], g.typer_instance) for g in app.registered_groups)]:
        found += [([*words, command.name or command.callback.__name__], command.callback) for command in group.registered_commands]
    return found


TABLES = {"stages": stages_table, "parameters": parameters_table, "commands": commands_table}


def with_tables(readme: str) -> str:
    """`readme` with what stands between `<!-- name -->` and `<!-- /name -->` made anew."""
    for name, table in TABLES.items():
        body = table().replace("\\", "\\\\")
        readme, count = re.subn(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", rf"\g<1>{body}\n\g<2>", readme, flags=re.DOTALL)
        assert count == 1, f"README.md must hold one <!-- {name} --> ... <!-- /{name} -->"
    return readme


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(with_tables(path.read_text("utf-8")), "utf-8")
