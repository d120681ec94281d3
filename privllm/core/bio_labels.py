"""Labels of entities in a text of tokens: B-TYPE begins one, I-TYPE continues it, O is outside of all (Ramshaw and Marcus 1995)."""

OUTSIDE = "O"


def as_bio(labels: tuple[str, ...]) -> tuple[str, ...]:
    """The same entities, each with a B- at its beginning: an I- that continues nothing of its type begins an entity."""
    read = []
    before = OUTSIDE
    for label in labels:
        begins = label.startswith("I-") and before[2:] != label[2:]
        read.append("B-" + label[2:] if begins else label)
        before = label
    return tuple(read)
