"""BIO labels of entities.

B-TYPE begins one, I-TYPE continues it, O is outside of all (Ramshaw and Marcus 1995).
"""

OUTSIDE = "O"


def as_bio(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the labels with a B- at the beginning of each entity.

    An I- that continues nothing of its type begins an entity.
    """
    corrected = []
    previous = OUTSIDE
    for label in labels:
        begins_entity = label.startswith("I-") and previous[2:] != label[2:]
        corrected.append("B-" + label[2:] if begins_entity else label)
        previous = label
    return tuple(corrected)
