"""The families of models: what each can do, for code that opens no model.

Everything that differs from family to family is asked here, never by name. How a family is built and trained is in `models.family_model`;
`models.family` joins both to what evaluation and people need to know of it.
"""

from dataclasses import dataclass

CLEAN = "_clean"
WORDPIECE, UNIGRAM = "WordPiece", "Unigram"  # vocabularies, as tokenizer.json names their models


@dataclass(frozen=True)
class FamilyTraits:
    """The abilities and needs of one family."""

    name: str  # in params.yaml, dvc.yaml and below data/
    model_types: tuple[str, ...]  # transformers' `model_type`s that its objective and the optimiser support
    task_kinds: tuple[str, ...]  # what it can be fine-tuned for
    can_converse: bool = False  # it answers turns, so people can rate its replies
    continues_text: bool = False  # it writes on from a prompt; the others fill gaps
    has_mask: bool = False  # its objective hides tokens behind a token of the vocabulary
    wants_annotations: bool = False  # its training can be guided by annotations (`data/guide`)
    # Kinds of vocabularies that do not give every text back, and do all the same for what the family learns.
    lossy_vocabularies: tuple[str, ...] = ()
    writes_separately: bool = False  # an encoder reads the prompt, a decoder writes the answer
    # What its held-out cost is called. Only a model that gives a text a probability has bits per byte of it; the
    # others are asked for tokens of which both sides are seen, which is not comparable.
    bits: str = "bits_per_byte"

    @property
    def clean_bits(self) -> str:
        """Return the name of the same figure of what was not copied from training."""
        return f"{self.bits}{CLEAN}"


CAUSAL = FamilyTraits(
    name="causal",
    # Tested one by one: the loss is that of the model's own forward pass, also of several documents in a row.
    model_types=(
        "llama",
        "mistral",
        "qwen2",
        "qwen3",
        "gemma2",
        "gemma3_text",
        "phi3",
        "smollm3",
        "olmo2",
        "gpt2",
    ),
    task_kinds=("classification", "tokens", "text2text", "chat"),
    can_converse=True,
    continues_text=True,
)
MASKED = FamilyTraits(
    name="masked",
    model_types=("modernbert", "bert", "roberta", "xlm-roberta"),
    task_kinds=("classification", "tokens"),
    has_mask=True,
    lossy_vocabularies=(WORDPIECE, UNIGRAM),
    wants_annotations=True,
    bits="pseudo_bits",
)
SEQ2SEQ = FamilyTraits(
    name="seq2seq",
    model_types=("t5",),
    task_kinds=("text2text",),
    lossy_vocabularies=(UNIGRAM,),
    writes_separately=True,
    bits="denoising_bits",
)
TRAITS = {traits.name: traits for traits in (CAUSAL, MASKED, SEQ2SEQ)}


def families_of(kind: str) -> list[str]:
    """Return the names of the families that can be fine-tuned for this kind of task."""
    return [name for name, traits in TRAITS.items() if kind in traits.task_kinds]
