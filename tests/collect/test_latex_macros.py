"""Macros that a LaTeX file defines."""

import pytest

from privllm.collect.latex_text import latex_text, markdown_of


def body_of(preamble: str, body: str) -> str:
    return markdown_of(
        f"\\documentclass{{article}}\n{preamble}\n\\begin{{document}}\n{body}\n\\end{{document}}\n"
    ).strip()


@pytest.mark.parametrize(
    ("preamble", "body", "text"),
    [
        (r"\newcommand{\fox}{red fox}", r"The \fox{} runs, and a \fox.", "The red fox runs, and a red fox."),
        (r"\newcommand\fox{red fox}", r"A \fox.", "A red fox."),
        (r"\newcommand{\two}[2]{\emph{#1} and #2}", r"\two{Foxes}{hens}", "Foxes and hens"),
        (r"\newcommand{\two}[2][Foxes]{#1 and #2}", r"\two{hens}; \two[Dogs]{cats}", "Foxes and hens; Dogs and cats"),
        (r"\def\two#1#2{#1 and #2}", r"\two{Foxes}{hens} \two ab", "Foxes and hens a and b"),
        (r"\newcommand{\a}{x\b}\newcommand{\b}{y}", r"\a", "xy"),
        (r"\newcommand{\sect}[1]{\section{#1}}", r"\sect{Food}", "# Food"),
        (r"\newcommand{\fox}{red fox}", r"\section{A \fox{} runs}", "# A red fox runs"),
        (r"\newcommand{\fox}{one} \renewcommand{\fox}{two}", r"\fox", "two"),
        (r"\newcommand{\bi}{\begin{itemize}}\newcommand{\ei}{\end{itemize}}", "\\bi\n\\item one\n\\ei", "- one"),
        (r"% \newcommand{\fox}{red}", r"A \fox{b}.", "A b."),
        (r"\newcommand{\R}{\mathbb{R}}", r"In $\R$.", r"In $\R$."),
        ("", r"A \fox{b}.", "A b."),
    ],
)
def test_macros_of_the_file_are_expanded(preamble: str, body: str, text: str) -> None:
    assert body_of(preamble, body) == text


def test_a_title_may_hold_macros() -> None:
    assert (
        latex_text(rb"\newcommand{\fox}{red fox}\title{The \fox{}}\begin{document}a\end{document}").title
        == "The red fox"
    )


@pytest.mark.parametrize(
    "preamble",
    [
        r"\def\a{\a}",
        r"\def\a{\a\a}",
        r"\def\a{\b\b\b\b\b\b}\def\b{\a\a\a\a\a\a}",
        r"\def\a{\begin{x}\a\end{x}}",
        r"\def\a#1{\a{#1#1}}",
        r"\newcommand{\a",
    ],
)
def test_macros_without_an_end_come_to_one(preamble: str) -> None:
    assert "then" in body_of(preamble, "\\a x\n\nthen" + " more \\a x" * 100)
