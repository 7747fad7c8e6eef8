r"""The comparison as LaTeX: a `table` that needs no package but booktabs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from llmemb_bench.base.terminal import shown
from llmemb_bench.report.grid import Grid, Number
from llmemb_bench.report.sheet import Sheet, headings, seeds_of

_ESCAPES = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "`": r"\textasciigrave{}", "±": r"$\pm$", "·": r"$\cdot$",
    "–": "--", "…": r"\ldots{}", "-": "-{}", "[": "{[}", "*": "{*}", **{one: f"\\{one}" for one in "{}$&#_%"},
}  # fmt: skip
"""`--` would be a dash, and `[` or `*` after a line's end an option of it."""
_LOOKS = {0: r"\textbf{%s}", 1: r"\underline{%s}"}


def latex(sheets: Sequence[Sheet]) -> str:
    r"""One `table` for each dataset and protocol, its notes under it."""
    tables = ["\n".join(_sheet(sheet)) for sheet in sheets]
    return "\n\n".join(["% made by llmemb-bench report; needs \\usepackage{booktabs}", *tables]) + "\n"


def escaped(text: object) -> str:
    """A text as itself, whatever characters it holds; letters beyond Latin need XeLaTeX or LuaLaTeX."""
    return "".join(_ESCAPES.get(one, one) for one in shown(text))


def _sheet(sheet: Sheet) -> Iterator[str]:
    yield "\\begin{table}\n\\centering\n\\small"
    yield f"\\caption{{{escaped(sheet.caption)}}}"
    for grid in sheet.grids:
        yield from _table(grid)
        yield ""
    yield "\\smallskip\n\\begin{minipage}{\\linewidth}\\footnotesize"
    yield "\\\\\n".join(map(escaped, sheet.notes))
    yield "\\end{minipage}\n\\end{table}"


def _table(grid: Grid) -> Iterator[str]:
    named = headings(grid)
    yield f"\\begin{{tabular}}{{{'l' * len(named)}{'r' * len(grid.columns)}}}\n\\toprule"
    yield from _metrics(grid, len(named))
    yield _row([*map(escaped, named), *(escaped(bucket) for _, bucket in grid.columns)])
    yield "\\midrule"
    for line in grid.lines:
        names = [*line.names, *seeds_of(grid, line)]
        yield _row([*map(escaped, names), *map(_number, line.numbers)])
    yield "\\bottomrule\n\\end{tabular}"


def _metrics(grid: Grid, before: int) -> Iterator[str]:
    """The line of metrics, each above its buckets, and the rules below them."""
    cells, rules, start = [""] * before, [], before + 1
    for metric, group in groupby(metric for metric, _ in grid.columns):
        width = len(list(group))
        cells.append(f"\\multicolumn{{{width}}}{{c}}{{{escaped(metric.upper())}}}")
        rules.append(f"\\cmidrule(lr){{{start}-{start + width - 1}}}")
        start += width
    yield _row(cells)
    yield " ".join(rules)


def _row(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _number(number: Number) -> str:
    if number.mean is None:
        return escaped(number.words)
    looks = _LOOKS.get(-1 if number.rank is None else number.rank, "%s")
    spread = number.spread and f"\\,{{\\scriptsize$\\pm$\\,{number.spread[1:]}}}"
    return looks % number.words + (number.mark and f"$^{{{number.mark}}}$") + spread
