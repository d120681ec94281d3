import time

import pytest

from privllm.collect.markdown_head import MAX_LENGTH, about_markdown
from privllm.collect.parsed import About


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# The pump\n\nText.", About("The pump")),
        ("\ufeff# The pump #\n", About("The pump")),
        ("Written before.\n\n# **The** `pump` of [Ada](x.md) {#pump}\n", About("The pump of Ada")),
        ("The pump\n========\n\nText.", About("The pump")),
        ("```\n# a comment\n```\n\n# The pump", About("The pump")),
        ("## Only a part\n\nText.", About()),
        ("#hashtag\n", About()),
        ("", About()),
        (
            "---\ntitle: 'The pump: a guide'\nauthor: Ada Byron  # of the works\ndate: 2024-03-01T10:00:00Z\n---\n# Another\n",
            About("The pump: a guide", "Ada Byron", "2024-03-01"),
        ),
        ('---\nlayout: post\nauthors: ["Ada Byron", Bob]\n---\n# The pump\n', About("The pump", "Ada Byron")),
        ("---\nnested:\n  title: inner\n---\nText", About()),
        ("% The pump\n% Ada Byron\n% 2024/03/01\n\nText", About("The pump", "Ada Byron", "2024-03-01")),
        ("---\ntitle: never closed\n\n# Text", About()),
        ("---\n", About()),
        (f"# {'x' * 1000}", About("x" * MAX_LENGTH)),
    ],
)
def test_what_stands_at_the_beginning(text: str, expected: About) -> None:
    assert about_markdown(text) == expected


@pytest.mark.parametrize("piece", ["# ", "#  #", "*_`", "[](", "---\n", "a: ", "=\n", "```\n", "% "])
def test_time_is_bounded(piece: str) -> None:
    """Of a million characters as of twenty thousand."""
    begun = time.process_time()
    about_markdown("# " + piece * (1_000_000 // len(piece)))
    about_markdown("---\ntitle: " + piece * (1_000_000 // len(piece)))
    assert time.process_time() - begun < 2
