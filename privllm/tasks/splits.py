"""Which examples train, which choose, which judge.

Where the file says so, it decides. Otherwise the split is a pure function of the example's group, by default a hash of its input:
growth moves nothing, and equal inputs share a split. In either case no input that is trained on judges: such a held-out copy leaves,
and is counted. It balances nothing.
"""

from dataclasses import dataclass

from privllm.core.bio_labels import OUTSIDE
from privllm.core.errors import UserError
from privllm.core.report import balance
from privllm.core.split import SPLITS, SplitConfig, split_of
from privllm.tasks.formats import Classified, Dataset, Example, Tagged, input_of, line_error


@dataclass(frozen=True)
class Divided:
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    labels: tuple[str, ...]  # classes or entity types that training sees, sorted; () for the other kinds
    counts: dict[str, int]  # examples = train + validation + test + seen_before


def divide(dataset: Dataset, cfg: SplitConfig) -> Divided:
    """Raises UserError for an empty split, one class only, or a held-out label that training never sees."""
    parts: dict[str, list[Example]] = {split: [] for split in SPLITS}
    for example in dataset.examples:
        parts[example.split or split_of(cfg, example.group)].append(example)
    taken: set[str] = set()
    for split in SPLITS:
        own = {input_of(example.content) for example in parts[split]}
        parts[split] = [example for example in parts[split] if input_of(example.content) not in taken]
        taken |= own
    for split in SPLITS:
        if not parts[split]:
            raise UserError(
                f"{dataset.path} leaves no example for {split} ({len(dataset.examples)} in all): add examples, "
                f"or {'mend their `split`' if dataset.examples[0].split else 'raise the shares of the split in params.yaml'}."
            )
    labels = tuple(sorted({label for example in parts["train"] for label in labels_of(example)}))
    _check(dataset, parts, labels)
    counts = {split: len(parts[split]) for split in SPLITS}
    counts |= {"examples": len(dataset.examples), "seen_before": len(dataset.examples) - sum(counts.values())}
    balance(counts["examples"], counts["seen_before"], *(counts[split] for split in SPLITS))
    train, validation, test = (tuple(parts[split]) for split in SPLITS)
    return Divided(train, validation, test, labels, counts)


def labels_of(example: Example) -> set[str]:
    """The class, or the entity types, of an example."""
    match example.content:
        case Classified(_, label):
            return {label}
        case Tagged(_, labels):
            return {label[2:] for label in labels if label != OUTSIDE}
    return set()


def _check(dataset: Dataset, parts: dict[str, list[Example]], labels: tuple[str, ...]) -> None:
    if dataset.kind == "classification" and len(labels) < 2:
        raise UserError(
            f"{dataset.path} has one class only in its training part ({labels[0]}, from line {parts['train'][0].line} on): "
            "there is nothing to tell apart; add examples of another."
        )
    if dataset.kind == "tokens" and not labels:
        raise UserError(
            f"{dataset.path} marks no entity in its training part (from line {parts['train'][0].line} on, all labels are O): "
            "there is nothing to find; add examples with entities."
        )
    for split in SPLITS[1:]:
        for example in parts[split]:
            if dataset.kind in ("classification", "tokens") and (unknown := sorted(labels_of(example) - set(labels))):
                raise line_error(
                    dataset, example, f"the label {unknown[0]} is in the {split} part, but no example to train on has it; add some that do"
                )
