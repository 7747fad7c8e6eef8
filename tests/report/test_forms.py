"""LaTeX, Markdown and CSV, against text written by hand; names that would be markup stay names."""

from __future__ import annotations

import csv
import io
import json
import re
from html import unescape
from pathlib import Path

import pytest

from llmemb_bench.report.latex import escaped as in_latex
from llmemb_bench.report.latex import latex
from llmemb_bench.report.markdown import escaped as in_markdown
from llmemb_bench.report.markdown import markdown
from llmemb_bench.report.rows import read_rows
from llmemb_bench.report.selection import Selection, selected
from llmemb_bench.report.sheet import sheets
from llmemb_bench.runs.database import enter
from tests.helpers.stored_runs import write_run

NASTY = r"a|b_c & 5% <script>alert('x')</script> \cmd{$1} #~^ [x] *y* `z` -- _w_"
USERS = {"overall": 100, "head": 40, "tail": 60}


@pytest.fixture
def results(tmp_path) -> Path:
    for method, value in (("popularity", 0.1), ("id_only", 0.2), ("llmemb", 0.25)):
        for seed in (1, 2):
            about = {"method": method, "configuration": method, "users": USERS, "metrics": ["hr@10"], "seed": seed}
            about |= {"started": 10 * value}
            enter(tmp_path, write_run(tmp_path, value=value + 0.01 * seed, **about))
    return tmp_path


def chosen(results: Path):
    return selected(read_rows(results, [], []), Selection(protocols=("full",)))


MARKDOWN = """\
**toy · full · experiment demo (100 overall, 40 head, 60 tail users); seeds 1, 2**

| method | HR@10 overall | HR@10 head | HR@10 tail |
| --- | ---: | ---: | ---: |
| popularity | 0.1150 ±.0071 | 0.1150 ±.0071 | 0.1150 ±.0071 |
| id_only | <ins>0.2150</ins> ±.0071 | <ins>0.2150</ins> ±.0071 | <ins>0.2150</ins> ±.0071 |
| llmemb | **0.2650** ±.0071 | **0.2650** ±.0071 | **0.2650** ±.0071 |

- mean ± standard deviation over seeds; best of a column bold, second underlined
- head: 80 of 400 items (20.0%), 7 events or more
"""

LATEX = r"""
\begin{table}
\centering
\small
\caption{toy $\cdot$ full $\cdot$ experiment demo (100 overall, 40 head, 60 tail users); seeds 1, 2}
\begin{tabular}{lrrr}
\toprule
 & \multicolumn{3}{c}{HR@10} \\
\cmidrule(lr){2-4}
method & overall & head & tail \\
\midrule
popularity & 0.1150\,P & 0.1150\,P & 0.1150\,P \\
id\_only & \underline{0.2150}\,P & \underline{0.2150}\,P & \underline{0.2150}\,P \\
llmemb & \textbf{0.2650}\,P & \textbf{0.2650}\,P & \textbf{0.2650}\,P \\
\bottomrule
\end{tabular}

\smallskip
\begin{minipage}{\linewidth}\footnotesize
mean $\pm$ standard deviation over seeds; best of a column bold, second underlined\\
head: 80 of 400 items (20.0\%), 7 events or more
\end{minipage}
\end{table}
""".replace("P", r"{\scriptsize$\pm$\,.0071}")


def test_markdown_is_what_a_hand_would_write(results):
    assert markdown(list(sheets(chosen(results)))).strip() == MARKDOWN.strip()


def test_latex_is_what_a_hand_would_write(results):
    comment, _, table = latex(list(sheets(chosen(results)))).partition("\n")
    assert comment == r"% made by llmemb-bench report; needs \usepackage{booktabs}"
    assert table.strip() == LATEX.strip()


def test_csv_has_one_number_a_row_under_the_names_of_json(results, cli):
    words = ("report", "--results", results, "--metric", "hr@10")
    read = list(csv.DictReader(io.StringIO(cli(*words, "--format", "csv").out)))
    rows = json.loads(cli(*words, "--format", "json").out)["rows"]
    assert [(row["method"], row["protocol"], row["bucket"], float(row["mean"])) for row in read] == [
        (row["method"], row["protocol"], row["bucket"], row["mean"]) for row in rows
    ]
    assert len(read) == 3 * 2 * 3
    assert {row["seeds"] for row in read} == {"1; 2"}


def columns_of(line: str) -> int:
    """Columns of a row of LaTeX: unescaped `&` and what \\multicolumn spans."""
    spans = [int(width) - 1 for width in re.findall(r"\\multicolumn\{(\d+)\}", line)]
    return len(re.findall(r"(?<!\\)&", line)) + 1 + sum(spans)


@pytest.mark.parametrize("text", [NASTY, "[1] first", "*", "{", "}", "\\", "a\u202eb\n"])
def test_a_hostile_name_survives_in_each_form(text, tmp_path, cli):
    for method in (text, "plain"):
        enter(tmp_path, write_run(tmp_path, method=method, configuration=str(len(method)), metrics=["hr@10"]))
    words = ("report", "--results", tmp_path, "--protocol", "full", "--format")
    shown = text.replace("\u202e", "\\u202e").replace("\n", "\\n")
    assert shown in [row["method"] for row in csv.DictReader(io.StringIO(cli(*words, "csv").out))]
    made = cli(*words, "md").out
    [header, *lines] = [line for line in made.splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)(?:\\\\)*\|", line) for line in lines]
    assert {len(line) for line in cells} == {len(header.split("|"))}
    assert shown in [unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", in_markdown(text)))]
    assert f"| {in_markdown(text)} |" in made
    assert "<script" not in made
    made = cli(*words, "latex").out
    bare = re.sub(r"\\[{}\\]", "", made.replace("\\\\", ""))
    depth = [bare[:end].count("{") - bare[:end].count("}") for end in range(len(bare) + 1)]
    assert (min(depth), depth[-1]) == (0, 0)
    rows = [line for line in made.splitlines() if "&" in line and line.endswith(r"\\")]
    assert {columns_of(line) for line in rows} == {4}
    assert len(rows) == 4
    assert f"\n{in_latex(text)} & " in made


def test_no_character_of_latex_is_left_active():
    assert in_latex(r"\{}$&#_%~^") == (r"\textbackslash{}\{\}\$\&\#\_\%\textasciitilde{}\textasciicircum{}")
    assert in_latex("a--b | <c>") == r"a-{}-{}b \textbar{} \textless{}c\textgreater{}"


@pytest.mark.parametrize(
    ("name", "first"), [("t.md", "**toy"), ("t.tex", "% made by"), ("t.csv", "experiment,"), ("t.txt", "toy ·")]
)
def test_a_file_is_written_in_the_form_that_its_name_ends_in_and_never_over_another(
    name, first, results, cli, tmp_path
):
    path = tmp_path / name
    ran = cli("report", "--results", results, "-o", path)
    assert (ran.code, ran.out) == (0, f"wrote {path}\n")
    text = path.read_text()
    assert text.startswith(first)
    assert "\x1b" not in text
    again = cli("report", "--results", results, "-o", path)
    assert (again.code, path.read_text()) == (2, text)
    assert "already exists -> name a new file, or remove it" in again.err
    assert cli("report", "--results", results, "-o", tmp_path / "no" / name).code == 4
    assert not list(tmp_path.glob("*.part-*"))


def test_a_file_whose_ending_names_no_form_is_refused_unless_the_form_is_given(results, cli, tmp_path):
    path = tmp_path / "t.pdf"
    ran = cli("report", "--results", results, "-o", path)
    assert (ran.code, path.exists()) == (2, False)
    assert "ends in no form of a report -> end it in .txt, .md, .tex, .csv, .json, or add --format" in ran.err
    assert cli("report", "--results", results, "-o", path, "--format", "md").code == 0
    assert path.read_text().startswith("**toy")


def test_where_seeds_differ_they_stand_in_a_column(results):
    enter(results, write_run(results, method="new", configuration="new", users=USERS, metrics=["hr@10"], seed=7))
    made = markdown(list(sheets(chosen(results))))
    assert "| method | seeds | HR@10 overall |" in made
    assert "| new | 7 | **0.5000** |" in made
