import json
import shutil
from collections.abc import Callable
from pathlib import Path

from privllm.export.gguf_vocabulary import read_vocabulary
from privllm.export.modelfile import CONTINUES, modelfile
from privllm.tokens.chat_template import FILE

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def foreign(folder: Path, source: Path, template: str) -> Path:
    """A tokenizer with marks of turns other than ours."""
    shutil.copytree(source, folder)
    (folder / "provenance.json").unlink()
    text = (folder / "tokenizer.json").read_text("utf-8")
    for ours, theirs in (("<|user|>", "<|im_start|>"), ("<|end|>", "<|im_end|>"), ("<|assistant|>", "<|x|>")):
        text = text.replace(ours, theirs)
    (folder / "tokenizer.json").write_text(text, "utf-8")
    settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    del settings["chat_template"], settings["extra_special_tokens"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    if template:
        (folder / FILE).write_text(template, "utf-8")
    return folder


def made(folder: Path) -> tuple[str, list[str]]:
    ends = json.loads((folder / "generation_config.json").read_text("utf-8"))
    return modelfile("m.gguf", folder, "llama", read_vocabulary(folder, 320, ends))


def test_a_model_that_answers(exported: Callable[..., Path]) -> None:
    text, notes = made(exported(tuned=True))
    assert text == (
        'FROM ./m.gguf\nTEMPLATE """<|endoftext|>{{ range $i, $_ := .Messages }}'
        "{{ $last := eq (len (slice $.Messages $i)) 1 }}"
        '{{ if eq .Role "user" }}<|user|>{{ .Content }}<|end|>{{ if $last }}<|assistant|>{{ end }}'
        '{{ else if eq .Role "assistant" }}<|assistant|>{{ .Content }}{{ if not $last }}<|end|>{{ end }}'
        '{{ end }}{{ end }}"""\nPARAMETER stop "<|endoftext|>"\nPARAMETER stop "<|end|>"\n'
    )
    assert notes == []


def test_a_model_that_continues(exported: Callable[..., Path]) -> None:
    text, notes = made(exported())
    assert text == f'FROM ./m.gguf\nTEMPLATE """{CONTINUES}"""\nPARAMETER stop "<|endoftext|>"\n'
    assert notes == []


def test_a_model_from_elsewhere(exported: Callable[..., Path], tmp_path: Path) -> None:
    text, _ = made(foreign(tmp_path / "m", exported(), CHATML))
    system = "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ else }}{{ end }}"
    assert text.startswith(f'FROM ./m.gguf\nTEMPLATE """{system}{{{{ range')
    opening = "<|im_start|>assistant\n"
    assert f"<|im_start|>user\n{{{{ .Content }}}}<|im_end|>\n{{{{ if $last }}}}{opening}{{{{ end }}}}" in text
    assert text.endswith('PARAMETER stop "<|endoftext|>"\nPARAMETER stop "<|im_end|>"\n')


def test_a_base_model_from_elsewhere(exported: Callable[..., Path], tmp_path: Path) -> None:
    text, _ = made(foreign(tmp_path / "m", exported(), ""))
    assert f'"""{CONTINUES}"""' in text


def test_marks_that_go_would_read_as_instructions_are_left_out(exported: Callable[..., Path], tmp_path: Path) -> None:
    text, notes = made(foreign(tmp_path / "m", exported(), CHATML.replace("<|im_end|>", '<|im_end|>"""')))
    assert f'"""{CONTINUES}"""' in text
    assert len(notes) == 1


def test_what_ollama_does_to_numbers_is_said(exported: Callable[..., Path]) -> None:
    vocabulary = read_vocabulary(exported(), 320, {})
    _, notes = modelfile("m.gguf", exported(), "qwen3", vocabulary)
    assert notes[0].startswith("Ollama splits numbers")
