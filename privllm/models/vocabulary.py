"""The label of what is not learnt."""

IGNORED = -100  # label of a position that is not to be learnt
