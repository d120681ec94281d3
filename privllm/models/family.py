"""`FAMILIES`: one object for each family of models, with all that differs from family to family.

A new family is a file beside `causal` with its `FamilyModel`, its traits in `core.families`, its words in
`family_texts`, and an entry here; a test names what is missing. Stages that run without torch read `core.families`,
and training reads `loading.MODELS`, so that neither runs again because a scorer or a sentence was edited.
"""

from dataclasses import dataclass

from privllm.core.families import FamilyTraits
from privllm.models.causal import CAUSAL_MODEL
from privllm.models.family_model import FamilyModel
from privllm.models.family_texts import TEXTS, FamilyText
from privllm.models.gap_filling import GapFiller, unmask, write_spans
from privllm.models.masked import MASKED_MODEL
from privllm.models.scorers import Scorer, score_masked_tokens, score_next_tokens, score_spans
from privllm.models.seq2seq import SEQ2SEQ_MODEL


@dataclass(frozen=True)
class Family:
    """One family: what it can do, how it is built and trained, how it is scored, and what people are told of it."""

    model: FamilyModel
    scorer: Scorer  # of held-out rows
    fill_gaps: GapFiller | None = None  # of a family that does not continue text

    @property
    def name(self) -> str:
        """Return the family's name in params.yaml."""
        return self.model.name

    @property
    def traits(self) -> FamilyTraits:
        """Return what the family can do."""
        return self.model.traits

    @property
    def text(self) -> FamilyText:
        """Return the family in words."""
        return TEXTS[self.name]


_ALL = (
    Family(CAUSAL_MODEL, scorer=score_next_tokens),
    Family(MASKED_MODEL, scorer=score_masked_tokens, fill_gaps=unmask),
    Family(SEQ2SEQ_MODEL, scorer=score_spans, fill_gaps=write_spans),
)
FAMILIES = {family.name: family for family in _ALL}
