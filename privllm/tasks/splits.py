"""Split of a dataset's examples into train, validation and test.

Where the file names splits, it decides. Otherwise the split is a pure function of the example's group,
by default a hash of its input: a growing dataset moves no example, and equal inputs share a split. In
either case an input that is trained on is not evaluated: a held-out copy is removed and counted.
Classes are not balanced.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from privllm.core.bio_labels import OUTSIDE
from privllm.core.errors import UserError
from privllm.core.report import balance
from privllm.core.split import SPLITS, SplitConfig, split_of
from privllm.tasks.formats import Classified, Dataset, Example, Skipped, Tagged, input_of, line_error
from privllm.tasks.line_faults import error_at


@dataclass(frozen=True)
class Divided:
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    labels: tuple[str, ...]  # classes or entity types that training sees, sorted; () for the other kinds
    counts: dict[str, int]  # examples = train + validation + test + seen_before


def divide(dataset: Dataset, cfg: SplitConfig) -> Divided:
    """Return the examples of each split.

    Raises UserError for an empty split, a single class, or a held-out label that training never sees.
    """
    by_split: dict[str, list[Example]] = {split: [] for split in SPLITS}
    for example in dataset.examples:
        by_split[example.split or split_of(cfg, example.group)].append(example)
    by_split = _without_copies(by_split)
    _require_every_split(dataset, by_split)
    labels: set[str] = set()
    for example in by_split["train"]:
        labels |= labels_of(example)
    _check_labels(dataset, by_split, labels)
    counts = {split: len(by_split[split]) for split in SPLITS}
    example_count = len(dataset.examples)
    counts |= {"examples": example_count, "seen_before": example_count - sum(counts.values())}
    balance(example_count, counts["seen_before"], *(counts[split] for split in SPLITS))
    train, validation, test = (tuple(by_split[split]) for split in SPLITS)
    return Divided(train, validation, test, tuple(sorted(labels)), counts)


def without(dataset: Dataset, divided: Divided, skipped: Sequence[Skipped]) -> tuple[Dataset, Divided]:
    """Return both without examples that turned out to be of no use, which the dataset then has among its skipped rows.

    Raises UserError for a split that they leave empty.
    """
    if not skipped:
        return dataset, divided
    lines = {row.line for row in skipped}
    by_split = {}
    for split in SPLITS:
        by_split[split] = [example for example in getattr(divided, split) if example.line not in lines]
        if not by_split[split]:
            first = skipped[0]
            raise error_at(
                dataset.path, first.line, f"{first.fault}. So it is with all examples for {split}", dataset.unit
            )
    counts = divided.counts | {split: len(examples) for split, examples in by_split.items()}
    counts["examples"] -= len(lines)
    balance(counts["examples"], counts["seen_before"], *(counts[split] for split in SPLITS))
    train, validation, test = (tuple(by_split[split]) for split in SPLITS)
    moved = {"examples": dataset.counts["examples"] - len(lines), "skipped": dataset.counts["skipped"] + len(lines)}
    return (
        replace(dataset, counts=dataset.counts | moved, skipped=tuple(sorted((*dataset.skipped, *skipped)))),
        Divided(train, validation, test, divided.labels, counts),
    )


def _without_copies(by_split: dict[str, list[Example]]) -> dict[str, list[Example]]:
    """Return the examples without those whose input is in an earlier split."""
    seen_inputs: set[str] = set()
    unique: dict[str, list[Example]] = {}
    for split, examples in by_split.items():
        inputs = [input_of(example.content) for example in examples]
        unique[split] = [example for example, text in zip(examples, inputs, strict=True) if text not in seen_inputs]
        seen_inputs.update(inputs)
    return unique


def _require_every_split(dataset: Dataset, by_split: dict[str, list[Example]]) -> None:
    remedy = "raise the shares of the split in params.yaml"
    if dataset.examples[0].split:
        remedy = "fix their `split`"
    for split in SPLITS:
        if not by_split[split]:
            raise UserError(
                f"{dataset.path} leaves no example for {split} ({len(dataset.examples)} in all): add examples, or {remedy}."
            )


def labels_of(example: Example) -> set[str]:
    """Return the class, or the entity types, of an example; none for the other kinds."""
    match example.content:
        case Classified(_, label):
            return {label}
        case Tagged(_, labels):
            return {label[2:] for label in labels if label != OUTSIDE}
    return set()


def _check_labels(dataset: Dataset, by_split: dict[str, list[Example]], labels: set[str]) -> None:
    if dataset.kind not in ("classification", "tokens"):
        return
    first_line = by_split["train"][0].line
    if dataset.kind == "classification" and len(labels) < 2:
        (label,) = labels
        raise UserError(
            f"{dataset.path} has one class only in its training part ({label}, from line {first_line} on): "
            "there is nothing to tell apart; add examples of another."
        )
    if not labels:
        raise UserError(
            f"{dataset.path} marks no entity in its training part (from line {first_line} on, all labels "
            "are O): there is nothing to find; add examples with entities."
        )
    for split in SPLITS[1:]:
        for example in by_split[split]:
            unknown = sorted(labels_of(example) - labels)
            if unknown:
                fault = f"the label {unknown[0]} is in the {split} part, but no example to train on has it; add some that do"
                raise line_error(dataset, example, fault)
