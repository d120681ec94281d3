"""The Modelfile that lies beside a GGUF file, by which `ollama create` makes a model of it.

Its template is Go's. It puts the marks around turns that the model was taught, as the chat template in the GGUF file does for llama.cpp.
"""

import json
from pathlib import Path

from tokenizers import Tokenizer

from privllm.export.gguf_vocabulary import Vocabulary
from privllm.tokens.chat_format import Marks, Speech

CONTINUES = "{{ .Prompt }}"  # of a model that was not taught turns
OWN_DIGITS = (
    "Ollama splits numbers of a Qwen 3 model into single digits, whatever the file says, and so reads them worse than llama.cpp, "
    "which follows the file."
)
UNSAFE = ("{{", '"""')  # of Go's templates, and of Modelfiles


def modelfile(file: str, folder: Path, architecture: str, vocabulary: Vocabulary) -> tuple[str, list[str]]:
    """Return the Modelfile of a GGUF file of this name, and sentences on what it leaves out."""
    template, notes = CONTINUES, []
    ends = vocabulary.ends
    if answers(folder, vocabulary):
        marks = Speech(folder).marks
        turns = turns_template(folder, vocabulary, marks)
        if turns is None:
            notes.append("The chat template is not one that Ollama's templates can say, so the Modelfile has none.")
        else:
            template, ends = turns, list(dict.fromkeys([*ends, marks.end[marks.last]]))
    if architecture == "qwen3" and vocabulary.values["pre"] != "qwen2":
        notes.append(OWN_DIGITS)
    lines = [f"FROM ./{file}", f'TEMPLATE """{template}"""']
    for number in ends:
        lines.append(f"PARAMETER stop {json.dumps(vocabulary.tokens[number], ensure_ascii=False)}")
    return "\n".join(lines) + "\n", notes


def answers(folder: Path, vocabulary: Vocabulary) -> bool:
    """Return whether the model was taught turns: as the build noted, or, of a model from elsewhere, where it has a chat template."""
    provenance = folder / "provenance.json"
    if provenance.is_file():
        return bool(json.loads(provenance.read_text("utf-8")).get("chat"))
    return bool(vocabulary.template)


def turns_template(folder: Path, vocabulary: Vocabulary, marks: Marks) -> str | None:
    """Return Go's template of a conversation; None where the marks cannot be told, or would be read as instructions."""
    if not marks.user:
        return None
    begin = marks.begin
    adds_begin = vocabulary.values["add_bos_token"] and begin[:1] == (vocabulary.values.get("bos_token_id"),)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def written(ids: tuple[int, ...]) -> str:
        return tokenizer.decode(list(ids), skip_special_tokens=False)

    first = 1 if adds_begin else 0  # Ollama adds it, as llama.cpp does
    before = written(begin[first:])
    user, assistant, end, user_end = map(written, (marks.user, marks.assistant, marks.end, marks.user_end))
    parts = [before, user, assistant, end, user_end]
    if marks.system and marks.system[1][-len(marks.user) :] == marks.user:
        system, after = marks.system
        parts += [written(system[first:]), written(after[: -len(marks.user)])]
        before = f"{{{{ if .System }}}}{parts[-2]}{{{{ .System }}}}{parts[-1]}{{{{ else }}}}{before}{{{{ end }}}}"
    if any(unsafe in "".join(parts) for unsafe in UNSAFE):
        return None
    # Where the last turn is the assistant's, it goes on with it.
    return (
        f"{before}{{{{ range $i, $_ := .Messages }}}}{{{{ $last := eq (len (slice $.Messages $i)) 1 }}}}"
        f'{{{{ if eq .Role "user" }}}}{user}{{{{ .Content }}}}{user_end}{{{{ if $last }}}}{assistant}{{{{ end }}}}'
        f'{{{{ else if eq .Role "assistant" }}}}{assistant}{{{{ .Content }}}}{{{{ if not $last }}}}{end}{{{{ end }}}}'
        "{{ end }}{{ end }}"
    )
