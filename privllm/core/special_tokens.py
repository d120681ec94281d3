"""Special tokens of our vocabulary: ids, marks of turns, and placeholders of personal data.

Every tokenizer of a build has these ids: `tokens.vocabulary` learns its own with them, and
`tokens.base_tokenizer` renumbers those that come with a base model.
"""

SPECIAL_TOKENS = ("<|endoftext|>", "<|pad|>", "<|mask|>", "<|user|>", "<|assistant|>", "<|end|>")
END_OF_TEXT, PAD, MASK, USER, ASSISTANT, END_OF_TURN = range(len(SPECIAL_TOKENS))
TURN_MARKS = (USER, ASSISTANT, END_OF_TURN)

# A model that was hardly trained may generate these, and a person may not write them.
MARKS = (PAD, MASK, USER, ASSISTANT, END_OF_TURN)

# One token for each kind of personal data that cleaning removes (ids 6 ... 12), so that a model
# spends one prediction on it. `clean.pii` also writes <SSN>, which is encoded as ordinary text.
PLACEHOLDER_KINDS = ("EMAIL", "PHONE", "IP", "CARD", "IBAN", "CREDENTIAL", "KEY")
PLACEHOLDERS = tuple(f"<{kind}>" for kind in PLACEHOLDER_KINDS)
