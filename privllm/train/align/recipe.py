"""The `align` stage of one family: a pretrained model and feedback on replies in, a model that answers as people would like out.

    data/pretrain/<family>, data/feedback_clean -> out/{config.json, model.safetensors, training.json}, live/

A model that converses imitates corrections and the conversations of data/chat, and by a smaller weight the replies that were
preferred (as Rafailov et al. 2023 begin where no tuned model is at hand: the marks of turns are new to a pretrained one); then DPO
teaches it which of two replies is the better one. For a family that does not converse, and without feedback, the model is passed
through unchanged, and torch is not even imported.

It measures how well that went on conversations that were kept back, and what it cost on held-out documents; it decides nothing by that.
"""

import shutil
from typing import Any

from privllm.core.families import TRAITS
from privllm.core.printable import say
from privllm.core.report import write_json
from privllm.train.align.config import LEARNT, AlignConfig, AlignInputs, Places
from privllm.train.align.data import counts_of, read_material


def align(family: str, cfg: AlignConfig, inputs: AlignInputs, places: Places) -> dict[str, Any]:
    """Train or pass through; write `out` and `live`, return the report."""
    if not TRAITS[family].can_converse:
        return _pass_through(f"people do not converse with the {family} family", {}, inputs, places)
    if not any((inputs.feedback / name).stat().st_size for name in LEARNT):
        return _pass_through("there are no corrections, no conversations and no preferences yet", {}, inputs, places)
    material = read_material(cfg, inputs)
    counts = counts_of(material)
    if not (material.training.preferences.kept or material.training.corrections.kept):
        return _pass_through("no correction and no preference can be used", counts, inputs, places)
    from privllm.train.align.training import train_on  # not before it is known that there is work for torch

    return train_on(family, cfg, material, counts, inputs, places)


def _pass_through(reason: str, counts: dict[str, Any], inputs: AlignInputs, places: Places) -> dict[str, Any]:
    """Copy the model unchanged, and report why."""
    for folder in (places.out, places.live, places.work):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(inputs.start, places.out)
    write_json(places.live / "passed_through.json", {"passed_through": reason})
    say(f"align: {inputs.start} goes on unchanged, for {reason}.")
    return {"aligned": False, "passed_through": reason} | counts
