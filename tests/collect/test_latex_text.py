"""LaTeX as light Markdown."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privllm.collect.latex_text import latex_text, markdown_of

PAGE = r"""
\documentclass[a4paper]{article}
\usepackage{graphicx} % a comment
\newcommand{\fox}[1]{the #1 fox}
\title{The \emph{Foxes}}
\author{Somebody}
\begin{document}
\maketitle
% not said
\section[Short]{Their \textbf{food}}\label{sec:food}
They eat mice~\cite{mouse2020}, 50\% of the day --- ``often''. % an aside
M\"uller's caf\'e, \c{c}a va.
\begin{itemize}
  \item one \emph{mouse}
  \item[b] two
\end{itemize}
\begin{enumerate}
\item first
\item second
\end{enumerate}
\subsection{Sums}
It is $a_1 \% b$ and
\begin{equation}
  e = mc^2 % kept
\end{equation}
\begin{verbatim}
\section{not a heading}
\end{verbatim}
Call \verb|fox(1)| in \texttt{code}. \textcolor{red}{Red} text.
\includegraphics[width=3cm]{fox.png}
See \href{https://example.org}{the den}.
\end{document}
gone
"""
TEXT = """\
# The Foxes

# Their food

They eat mice, 50% of the day \u2014 "often". M\u00fcller's caf\u00e9, \u00e7a va.

- one mouse

- b: two

1. first

2. second

## Sums

It is $a_1 \\% b$ and
\\begin{equation}
  e = mc^2 % kept
\\end{equation}

```
\\section{not a heading}
```

Call `fox(1)` in code. Red text.

See the den.
"""


def test_a_document() -> None:
    parsed = latex_text(PAGE.encode())
    assert (parsed.title, parsed.author) == ("The Foxes", "Somebody")
    assert parsed.text == TEXT


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (r"5\% of \$3 \& \#1 \_ \{x\}", "5% of $3 & #1 _ {x}\n"),
        (r"\unknown{stays} and \macro goes", "stays and goes\n"),
        (r"\chapter{A}\section{B}", "# A\n\n## B\n"),
        (r"a\\b", "a\nb\n"),
        (r"\footnote{below}", "^below\n"),
        ("", ""),
        (r"See \url{http://a/%7Ex\_y} now", "See http://a/%7Ex_y now\n"),
        (r"See \href{http://a/%7Ex}{the den} now", "See the den now\n"),
        (r"Print \lstinline[language=C]|%d| now", "Print `%d` now\n"),
        (r"\noindent [Applause] \large [More]", "[Applause] [More]\n"),
        (r"By \cite{x} [my stress] and \ref{y}, [sic]", "By [my stress] and , [sic]\n"),
        (r"\citep[see][p. 5]{x} \rule[2pt]{x}", "x\n"),
        (r"\begin{theorem}[On \emph{foxes}]They eat.\end{theorem}", "(On foxes) They eat.\n"),
        (r"\newtheorem{fact}{Fact}[section]\begin{fact}[Mice]Few.\end{fact}", "(Mice) Few.\n"),
        (r"\section{unclosed", "unclosed\n"),
    ],
)
def test_commands(text: str, plain: str) -> None:
    assert markdown_of(text).lstrip(" ") == plain


def test_words_of_plain_text_stay() -> None:
    text = "One line, and another.\n\nA new paragraph (with brackets).\n"
    assert markdown_of(text) == text


PIECES = [*"ab\\{}[]$% \n~-`'\"", "\\item", "\\begin{a}", "\\end{a}", "\\section", "\\cite", "\\verb"]


@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join))
def test_any_text_is_converted(text: str) -> None:
    markdown_of(text)


@pytest.mark.slow
@pytest.mark.parametrize("piece", ["\\section{", "{", "$ a", "\\begin{verbatim}", "\\item[", "%", "\\begin{itemize}"])
def test_time_is_bounded(piece: str) -> None:
    began = time.process_time()
    try:
        markdown_of(piece * 3000)
    except RecursionError:  # which the parsers' process answers with "damaged"
        assert piece == "\\section{"
    assert time.process_time() - began < 10


def test_authors_are_named_without_what_stands_below_them() -> None:
    text = r"\author[short]{A. Fox\thanks{of the den} \\ The Den \and \textbf{B.} Hen\\Farm}"
    assert latex_text(text.encode()).author == "A. Fox, B. Hen"
    assert latex_text(b"words").author == ""
