"""Tables for papers: LaTeX with booktabs, every cell escaped."""

import re
from collections.abc import Sequence

_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
}


def escape(text: str) -> str:
    """Return text that LaTeX sets as it is, on one line; a minus before a digit as one."""
    escaped = "".join(_SPECIAL.get(character, character) for character in " ".join(text.split()))
    return re.sub(r"(?<![\w.-])-(?=\d)", "$-$", escaped)


def latex_table(headers: Sequence[str], lines: Sequence[Sequence[str]], caption: str, label: str) -> str:
    """Lay out a table, the first column to the left; the document needs the package booktabs."""
    width = len(headers)
    if any(len(line) != width for line in lines):
        raise ValueError(f"lines: expected {width} cells in each, as there are headers")

    def row(cells: Sequence[str]) -> str:
        text = " & ".join(map(escape, cells))
        return ("{}" if text.startswith("[") else "") + text + r" \\"  # after \\ a bracket would be its argument

    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{escape(caption)}}}",
            rf"  \label{{{re.sub(r'[^a-z0-9:-]+', '-', label.lower())}}}",
            rf"  \begin{{tabular}}{{l{'r' * (width - 1)}}}",
            r"    \toprule",
            f"    {row(headers)}",
            r"    \midrule",
            *(f"    {row(line)}" for line in lines),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )
