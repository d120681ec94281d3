"""The generated parts of the documentation: tables of docs/reference, the list of decisions, and the picture.

`python docs/tables.py` writes them; tests/test_docs.py fails where it would change something. A table
stands between `<!-- name -->` and `<!-- /name -->` in one page.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from docs.picture import pipeline_picture  # noqa: E402

PICTURE = ROOT / "docs/pipeline.svg"
DECISIONS = ROOT / "docs/develop/decisions"
INPUTS = {  # what no stage writes, and where it comes from
    "data/base": "you",
    "data/sources": "you",
    "data/chat": "you",
    "data/replay": "you",
    "data/feedback": "`privllm feedback export`",
    "data/promoted/model": "`privllm promote`",
    "data/promoted/sides": "`privllm promote`",
    "data/vocabulary": "`privllm promote`, `privllm vocabulary keep`",
    "data/promoted/statistics.json": "`privllm promote`",
    "data/promoted/weak_spots.json": "`privllm promote`",
}
AREAS = ("build", "data", "training", "evaluation", "feedback", "serving", "operation")


def stages() -> dict[str, dict[str, Any]]:
    """Return the stages of dvc.yaml in order, each with all the `paths` that it writes."""
    declared = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))["stages"]
    described = {}
    for name, entry in declared.items():
        stage = entry.get("do", entry)
        entries = [*stage["outs"], *stage.get("plots", []), *stage.get("metrics", [])]
        paths = [plain_path(entry) for entry in entries]
        described[name] = {
            "desc": stage["desc"],
            "params": [in_angles(section) for section in stage.get("params", [])],
            "deps": [plain_path(path) for path in stage["deps"]],
            "paths": paths,
            "metrics": [plain_path(entry) for entry in stage.get("metrics", [])],
        }
    described["finetune"]["deps"] += ["data/tasks", "data/pretrain"]  # ${item.data} and ${item.start}
    return described


def plain_path(entry: Any) -> str:
    """Return the path of an entry of `deps`, `outs`, `plots` or `metrics`, with `<family>` for a template."""
    return in_angles(entry if isinstance(entry, str) else next(iter(entry)))


def in_angles(text: str) -> str:
    """Return `text` with DVC's templates as placeholders: `${item.family}` becomes `<family>`."""
    return re.sub(r"\$\{(?:item\.)?(\w+)\}", r"<\1>", text.replace("${key}", "<task>"))


def code(words: list[str]) -> str:
    """Return words as inline code, separated by commas."""
    return ", ".join(f"`{word}`" for word in words)


def stages_table() -> str:
    """Return one row per stage of dvc.yaml: what it does, its parameters, what it writes."""
    rows = ["| stage | what it does | parameters | outputs |", "|---|---|---|---|"]
    for name, stage in stages().items():
        rows.append(f"| `{name}` | {stage['desc']} | {code(stage['params']) or 'none'} | {code(stage['paths'])} |")
    return "\n".join(rows)


def parameters_table() -> str:
    """Return a table for each section: every parameter, its default, what params.yaml says, and what it means."""
    from privllm.parameters.listing import list_parameters

    lines: list[str] = []
    section = ""
    for parameter in list_parameters(root=ROOT):
        if parameter.key.partition(".")[0] != section:
            section = parameter.key.partition(".")[0]
            lines += ["", f"## {section}", "", "| parameter | default | meaning, unit and range |", "|---|---|---|"]
        default = f"`{in_cell(parameter.default)}`"
        if parameter.value != parameter.default:
            default += f" (params.yaml: `{in_cell(parameter.value)}`)"
        meaning = parameter.meaning.replace("<", "&lt;")
        lines.append(f"| `{parameter.key}` | {default} | {meaning} |")
    return "\n".join(lines).strip()


def in_cell(value: Any) -> str:
    """Return a value as YAML on one line, for a cell of a table."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()
    return text.replace("|", "\\|")


def schema_text() -> str:
    """Return the JSON schema of params.yaml, with which editors complete and check it."""
    from privllm.parameters.listing import schema_of_params

    return json.dumps(schema_of_params(), indent=1, ensure_ascii=False) + "\n"


def all_commands() -> list[tuple[list[str], Callable[..., object]]]:
    """Return (its words, its function) of every `privllm` command, in the order of `privllm --help`."""
    from privllm.cli.app import app
    from privllm.cli.command_groups import ORDER

    commands = []
    for words, group in [([], app), *(([g.name], g.typer_instance) for g in app.registered_groups)]:
        for command in group.registered_commands:
            commands.append(([*words, command.name or command.callback.__name__], command.callback))
    return sorted(commands, key=lambda command: ORDER.index(command[0][0]))


def commands_table() -> str:
    """Return a table for each group of `privllm --help`: its commands, each with the first sentence of its help."""
    from privllm.cli.command_groups import GROUP_OF

    lines: list[str] = []
    group = ""
    for words, function in all_commands():
        if GROUP_OF[words[0]] != group:
            group = GROUP_OF[words[0]]
            lines += ["", f"**{group}**", "", "| command | what it does |", "|---|---|"]
        summary = (function.__doc__ or "").strip().split("\n\n")[0]
        name = " ".join(words)
        lines.append(f"| [`privllm {name}`](#privllm-{name.replace(' ', '-')}) | {' '.join(summary.split())} |")
    return "\n".join(lines).strip()


def command_sections() -> str:
    """Return a section per command: its help, and a table of its arguments and options."""
    import typer

    from privllm.cli.app import app

    root = typer.main.get_command(app)
    sections = []
    for words, function in all_commands():
        command = root
        for word in words:
            command = command.commands[word]  # type: ignore[attr-defined]
        help_text = "\n\n".join(" ".join(p.split()) for p in (function.__doc__ or "").strip().split("\n\n"))
        sections.append(f"## privllm {' '.join(words)}\n\n{help_text}".replace("<", "&lt;"))
        rows = [option_row(parameter) for parameter in command.params if parameter.name != "help"]
        if rows:
            sections.append("\n".join(["| argument or option | default | meaning |", "|---|---|---|", *rows]))
    return "\n\n".join(sections)


def option_row(parameter: Any) -> str:
    """Return the table row of one argument or option of a command."""
    if parameter.param_type_name == "argument":
        name = (parameter.metavar or parameter.name).upper().strip("[]")
        name = name if parameter.required else f"[{name}]"
    else:
        name = ", ".join(parameter.opts)
    default = parameter.default
    shown = "" if default in (None, False, "", ()) or callable(default) else f"`{default}`"
    meaning = " ".join((getattr(parameter, "help", None) or "").split()).replace("|", "\\|").replace("<", "&lt;")
    return f"| `{name}` | {shown} | {meaning} |"


def files_table() -> str:
    """Return one row per path that a stage reads or writes: who writes it, and which stages read it."""
    every_stage = stages()
    writers = {path: name for name, stage in every_stage.items() for path in stage["paths"]}
    paths = {path: f"`{name}`" for path, name in writers.items()}
    paths |= INPUTS
    rows = ["| path | written by | read by |", "|---|---|---|"]
    for path, writer in sorted(paths.items()):
        readers = [name for name, stage in every_stage.items() if reads(stage["deps"], path)]
        everyone = path == "data/fingerprint"
        rows.append(f"| `{path}` | {writer} | {'every other stage' if everyone else code(readers)} |")
    return "\n".join(rows)


def reads(dependencies: list[str], path: str) -> bool:
    """Return whether one of the dependencies is `path`, or lies in it, or is a folder around it."""
    return any(f"{dep}/".startswith(f"{path}/") or f"{path}/".startswith(f"{dep}/") for dep in dependencies)


def metrics_table() -> str:
    """Return one row per file of figures: which command shows it."""
    rows = ["| file | written by | shown by |", "|---|---|---|"]
    for name, stage in stages().items():
        for path in stage["paths"]:
            if path.endswith(".json"):
                at_a_glance = path in stage["metrics"]
                shown_by = (
                    "`dvc exp show`, `dvc metrics diff`"
                    if at_a_glance
                    else "`privllm compare`, `dvc metrics diff --targets`"
                )
                rows.append(f"| `{path}` | `{name}` | {shown_by} |")
    return "\n".join(rows)


def decisions_table() -> str:
    """Return the decisions by area, each a link with its title and date."""
    lines: list[str] = []
    decisions = [
        (path.name, *read_decision(path)) for path in sorted(DECISIONS.glob("*.md")) if path.name != "index.md"
    ]
    for area in AREAS:
        lines += ["", f"## {area.capitalize()}", "", "| decision | date |", "|---|---|"]
        lines += [f"| [{title}]({name}) | {date} |" for name, title, date, place in decisions if place == area]
    unplaced = [name for name, _, _, place in decisions if place not in AREAS]
    if unplaced:
        raise SystemExit(
            f"{unplaced[0]}: its second line must be `*YYYY-MM · area*`, the area one of {', '.join(AREAS)}."
        )
    return "\n".join(lines).strip()


def read_decision(path: Path) -> tuple[str, str, str]:
    """Return title, date and area of a decision, from its heading and the line below."""
    heading = re.match(r"# (.+)\n\n\*(\d{4}-\d{2}) · (\w+)\*\n", path.read_text("utf-8"))
    if not heading:
        raise SystemExit(f"{path.name} must begin with `# Title`, an empty line and `*YYYY-MM · area*`.")
    return heading[1], heading[2], heading[3]


def memory_table() -> str:
    """Return what each way to train takes by size of model: of one card, and of each of eight."""
    kept = json.loads((ROOT / "benchmarks/results/memory.json").read_text("utf-8"))
    sizes = list(kept["QLoRA 16 beside nf4"])
    lines = ["| way to train | " + " | ".join(sizes) + " |", "|---" * (1 + len(sizes)) + "|"]
    for way, by_size in kept.items():
        cells = [" / ".join(str(by_size.get(size, {}).get(cards, "-")) for cards in ("1", "8")) for size in sizes]
        lines.append(f"| {way} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def scale_table() -> str:
    """Return what models of three sizes need on one card, eight and 512."""
    from benchmarks.scale import table

    return table()


TABLES: dict[str, Callable[[], str]] = {
    "stages": stages_table,
    "parameters": parameters_table,
    "commands": commands_table,
    "options": command_sections,
    "files": files_table,
    "metrics": metrics_table,
    "decisions": decisions_table,
    "memory": memory_table,
    "scale": scale_table,
}
PAGES = {
    "reference/stages.md": ["stages"],
    "reference/parameters.md": ["parameters"],
    "reference/commands.md": ["commands", "options"],
    "reference/files.md": ["files"],
    "reference/metrics.md": ["metrics"],
    "develop/decisions/index.md": ["decisions"],
    "explain/training.md": ["memory"],
    "guides/several-machines.md": ["scale"],
}


def with_tables(page: str, names: list[str]) -> str:
    """Return `page` with every named table between its markers made anew."""
    for name in names:
        body = TABLES[name]().replace("\\", "\\\\")
        markers = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        page, count = re.subn(markers, rf"\g<1>\n{body}\n\n\g<2>", page, flags=re.DOTALL)
        assert count == 1, f"a page must hold one <!-- {name} --> ... <!-- /{name} -->"
    return page


def generated() -> Iterator[tuple[Path, str]]:
    """Yield every generated file with the text that it should have."""
    from privllm.parameters.listing import SCHEMA_FILE

    yield PICTURE, pipeline_picture(stages())
    yield ROOT / SCHEMA_FILE, schema_text()
    for name, tables in PAGES.items():
        path = ROOT / "docs" / name
        yield path, with_tables(path.read_text("utf-8"), tables)


if __name__ == "__main__":
    for path, text in generated():
        path.write_text(text, "utf-8")
