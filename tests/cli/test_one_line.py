"""Nothing but one line, ever: hostile specs, sizes that nothing can hold, plugins that raise, unseen characters."""

from __future__ import annotations

import importlib
import json
import sys

import pytest

from llmemb_bench.base import memory, terminal
from llmemb_bench.base.errors import BenchError, Problem
from llmemb_bench.registry.defects import as_failure
from llmemb_bench.registry.entries import entries

SPEC = """\
version: 1
name: mine
dataset: {use: table, events: events.csv, items: items.csv}
embeddings: {encoder: {use: random, dim: 8}}
recommender:
  method: id_only
  backbone: {use: sasrec, dim: 8, max_len: 10}
  objective: bce
  train: {epochs: 1, batch_size: 8}
evaluate: {protocols: [full]}
"""
WIDE = ",".join(map(str, range(1, 1001)))


@pytest.fixture
def run(cli, tmp_path, events_csv, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPEC)

    def call(*words: str, text: str = SPEC, verb: str = "run"):
        (tmp_path / "spec.yaml").write_text(text)
        more = ("--results", "results", "--progress", "none") if verb == "run" else ()
        return cli(verb, "spec.yaml", *more, *words)

    return call


def one_line(ran, *parts: str, code: int) -> None:
    assert ran.code == code, ran.err
    assert ran.err.count("\n") == 1, ran.err
    assert ran.err.startswith("error: ")
    assert ran.err[:-1].isprintable()
    for part in parts:
        assert part in ran.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x: " + "[" * 400 + "]" * 400, "is nested more than 50 levels deep"),
        ("x: " + "{a: " * 300 + "1" + "}" * 300, "is nested more than 50 levels deep"),
        ("\n".join(" " * level + "x:" for level in range(400)), "is nested more than 50 levels deep"),
        ("x: &me [*me]", "an alias may not stand in what it names"),
        ("x: &me {a: *me}", "an alias may not stand in what it names"),
        ("x: &long " + "y" * 50_000 + "\nz: [" + "*long," * 6_000 + "]", "holds more than 20,000 values"),
        ("? [a, b]\n: 1", "spec.yaml:11: a key should be a word"),
        ("x: !!binary aGk=", "spec.yaml:11: the tag 'tag:yaml.org,2002:binary' builds an object"),
        ("x: !!int many", "spec.yaml:11: 'many' is not a valid int -> quote it"),
        ("x: !!bool perhaps", "spec.yaml:11: 'perhaps' is not a valid bool"),
        ("x: 2020-13-45", "spec.yaml:11: '2020-13-45' is not a valid timestamp"),
        ("x: " + "9" * 400, "spec.yaml:11: the number 999"),
        ("x: " + "9" * 5_000, "spec.yaml:11: '999"),
        ("x: 0x" + "f" * 5_000, "spec.yaml:11: the number 0xfff"),
        ("x: -9223372036854775809", "is too large -> at most 9223372036854775807"),
        ('x: "\\ud800"', "spec.yaml:11: holds half of a character"),
        ("x: \0", "spec.yaml:11: holds the character '\\x00', which no YAML may"),
        ("\tx: 1", "spec.yaml:11: is not YAML: found character '\\t' that cannot start any token -> write spaces"),
        ('"a\\nb\\e[31m": 1', "unknown key 'a\\nb\\x1b[31m'"),
        (f"matrix: {{recommender.train.epochs: [{WIDE}], evaluate.scores_mb: [{WIDE}]}}", "make 1,000,000 cells"),
        ("seeds: [" + ",".join(map(str, range(3_000))) + "]", "make 3,000 cells; a spec may have 2,000"),
        ("matrix: {recommender.method: []}", "'matrix.recommender.method' "),
        ("matrix: 5", "spec.yaml:11: 'matrix' should be a mapping"),
        ("x: " + "y" * 100_000, "is larger than 100,000 bytes"),
        ("seeds: [9223372036854775808]", "the number 9223372036854775808 is too large"),
        ("seeds: [-1]", "spec.yaml:11: 'seeds.0' should be a whole number, 0 or more"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else None,
)
def test_hostile_yaml_is_one_line(line, message, run):
    one_line(run(verb="validate", text=f"{SPEC}{line}\n"), message, code=2)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"version: 1\nname: \xff\n", "spec.yaml:2: is not UTF-8 text: invalid start byte -> save it as UTF-8"),
        ("version: 1\n".encode("utf-16"), "spec.yaml:1: is not UTF-8 text"),
        (b"", "should be a mapping of keys to values"),
        (b"\x89PNG\r\n\x1a\n", "is not UTF-8 text"),
    ],
)
def test_what_is_no_text_is_one_line(data, message, cli, tmp_path):
    (tmp_path / "spec.yaml").write_bytes(data)
    one_line(cli("validate", tmp_path / "spec.yaml"), message, code=2)


def test_a_byte_order_mark_is_no_part_of_a_spec(run, tmp_path):
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbf" + SPEC.encode())
    assert run("bom.yaml", verb="validate").code == 0


def test_a_device_that_never_ends_is_no_spec(cli):
    one_line(cli("validate", "/dev/zero"), "is larger than 100,000 bytes", code=2)


def test_a_chain_of_extends_ends(cli, tmp_path):
    for number in range(400):
        (tmp_path / f"s{number}.yaml").write_text(f"extends: s{number + 1}.yaml\n")
    one_line(cli("validate", tmp_path / "s0.yaml"), "is extended by 20 files one after another", code=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--set", "x=" + "[" * 300 + "]" * 300), "is nested more than 50 levels deep"),
        (("--set", "x=&me [*me]"), "an alias may not stand in what it names"),
        (("--set", "seeds=[" + "9" * 400 + "]"), "is too large"),
        (("--set", "name=a\nseeds: [1]"), "should set one key -> one --set for each key"),
        (("--set", "name='\x1b[31m'"), "\\x1b[31m"),
        (("--set", "a..b=1"), "unknown key 'a'"),
        (("--set", f"matrix={{recommender.train.epochs: [{WIDE}], evaluate.scores_mb: [{WIDE}]}}"), "1,000,000 cells"),
    ],
    ids=lambda value: str(value[1])[:20] if isinstance(value, tuple) else None,
)
def test_a_hostile_set_is_one_line(words, message, run):
    one_line(run(*words, verb="validate"), message, code=2)


@pytest.mark.parametrize(("seed", "code"), [(2**63 - 1, 0), (2**63, 2), (int("9" * 400), 2), (-1, 2)])
def test_a_seed_fits_the_store_or_is_refused_where_it_was_given(seed, code, run):
    ran = run("--set", "recommender={method: popularity}", "--seed", str(seed))
    assert (ran.code, ran.err.count("\n")) == (code, bool(code))
    if code:
        assert ran.err.startswith("error: --seed: 'seeds.0' should be")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("recommender.backbone.dim", 60_000),
        ("recommender.backbone.max_len", 10**11),
        ("recommender.backbone.max_len", 10**18),
        ("recommender.backbone", "{use: gru4rec, dim: 60000}"),
        ("recommender.backbone", "{use: mamba4rec, dim: 8, expansion: 1000000000000}"),
        ("recommender.backbone", "{use: fmlp, dim: 8, max_len: 1000000000000}"),
        ("recommender.method", "{use: llmemb, adapter_dim: 1000000000000}"),
        ("recommender.objective.negatives", 10**10),
        ("recommender.objective", "{use: sampled_softmax, negatives: 10000000000}"),
        ("recommender.objective", "{use: gbce, negatives: 1000000000000000}"),
    ],
)
def test_what_no_memory_holds_is_refused_before_it_is_allocated(key, value, run):
    ran = run("--set", f"{key}={value}")
    one_line(ran, f"error: --set {key}=", "would take ", "of memory; this machine has ", "-> a smaller ", code=1)


def test_the_refusal_names_the_setting_and_its_line(run, monkeypatch):
    monkeypatch.setattr(memory, "memory", lambda: 10**6)
    text = SPEC.replace("{use: sasrec, dim: 8, max_len: 10}", "\n    use: sasrec\n    dim: 8\n    max_len: 100000")
    parts = ("spec.yaml:10: recommender.backbone.max_len: training the weights would take 1", "has 1.0 MB")
    one_line(run(text=text), *parts, "-> a smaller max_len", code=1)


def test_sizes_that_the_data_bound_need_no_bound_of_their_own(run):
    huge = ("train.batch_size", "train.accumulate", "train.epochs", "train.scores_mb", "train.log_every")
    words = [word for key in huge for word in ("--set", f"recommender.{key}=1000000000000")]
    assert run(*words, "--set", "evaluate.scores_mb=1000000000000", "--set", "recommender.train.patience=1").code == 0
    assert run("--set", "recommender.method={use: cooccurrence, window: 1000000000000}").code == 0


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (
            "dataset={use: synthetic, users: 1000000000000}",
            "'dataset.users' should be a whole number from 1 to 1,000,000, got",
        ),
        (
            "dataset={use: synthetic, catalogue: 1000000000}",
            "'dataset.catalogue' should be a whole number from 80 to 1,000,000, got",
        ),
        ("dataset={use: synthetic, zipf: 1e308}", "'dataset.zipf' should be a number from 0 to 50"),
        ("embeddings.encoder.dim=1000000000", "'embeddings.encoder.dim' should be a whole number from 1 to 65,536"),
        ("recommender.backbone.dim=1000000000", "'recommender.backbone.dim' should be a whole number from 1 to 65,536"),
        (
            "recommender.backbone.blocks=1000000000",
            "'recommender.backbone.blocks' should be a whole number from 1 to 256, got",
        ),
        ("recommender.train.learning_rate=.inf", "'recommender.train.learning_rate' should be a finite number"),
        ("recommender.train.learning_rate=.nan", "'recommender.train.learning_rate' should be a finite number"),
        ("evaluate.protocols=[sampled-99999999999999999999]", "'evaluate.protocols.0' "),
        ("evaluate.protocols=[sampled-999999999]", "needs 999999999 items outside a user's events"),
    ],
)
def test_a_bound_that_is_known_stands_in_the_setting(assignment, message, run):
    one_line(run("--set", assignment), message, code=2)


# Plugins that raise


REST = "    def states(self, h): ...\n    def scores(self, s, i): ...\n"
PLUGINS = {
    "backbones/of_forward": (
        "from llmemb_bench.contracts import Backbone, BackboneConfig",
        "Backbone",
        "BackboneConfig",
        "    def forward(self, x, real):\n        return 1 / 0\n",
        "",
    ),
    "backbones/of_settings": (
        "from pydantic import model_validator\nfrom llmemb_bench.contracts import Backbone, BackboneConfig",
        "Backbone",
        "BackboneConfig",
        "    def forward(self, x, real):\n        return x\n",
        "    @model_validator(mode='after')\n    def check(self):\n        raise KeyError('one\\ntwo\\x1b[31m')\n",
    ),
    "methods/of_leaving": (
        "import sys\nfrom llmemb_bench.registry.config import Config\nfrom llmemb_bench.contracts import Method",
        "Method",
        "Config",
        f"    def fit_counts(self, split):\n        sys.exit('bye')\n{REST}",
        "",
    ),
    "methods/of_memory": (
        "import torch\nfrom llmemb_bench.registry.config import Config\nfrom llmemb_bench.contracts import Method",
        "Method",
        "Config",
        f"    def fit_counts(self, split):\n        torch.empty(10**15)\n{REST}",
        "",
    ),
    "methods/of_silence": (
        "from llmemb_bench.registry.config import Config\nfrom llmemb_bench.contracts import Method\n"
        "class Mute(BaseException):\n    def __str__(self):\n        raise RuntimeError\n",
        "Method",
        "Config",
        f"    def fit_counts(self, split):\n        raise Mute\n{REST}",
        "",
    ),
}
AT_IMPORT = {
    "raises": "raise RuntimeError('no\\nway')",
    "leaves": "import sys\nsys.exit(7)",
    "recurses": "def f():\n    f()\nf()",
    "is no Python": "class :",
    "has unknown settings": (
        "from llmemb_bench.contracts import Backbone\n"
        "class B(Backbone):\n    config: 'Nowhere'\n    def forward(self, x, real): ..."
    ),
    "has settings that are none": (
        "from llmemb_bench.contracts import Backbone\n"
        "class B(Backbone):\n    config: dict\n    def forward(self, x, real): ..."
    ),
}


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A package of plugins that raise, entered as an installed one is."""
    root = tmp_path / "site"
    for name, (imports, base, config, body, of_config) in PLUGINS.items():
        path = root / "hostile_plugins" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        of_config = of_config or "    pass\n"
        path.write_text(
            f'"""Raises \x1b[31m[red]on purpose[/]."""\n{imports}\nclass C({config}):\n    """Settings."""\n{of_config}'
            f'class P({base}):\n    """Raises."""\n    config: C\n{body}'
        )
    info = root / "hostile_plugins-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile-plugins\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text("[llmemb_bench.plugins]\nhostile = hostile_plugins\n")
    monkeypatch.syspath_prepend(str(root))
    importlib.invalidate_caches()
    entries.cache_clear()
    yield root / "hostile_plugins"
    entries.cache_clear()
    for name in [name for name in sys.modules if name.startswith("hostile_plugins")]:
        del sys.modules[name]


def test_a_plugin_that_raises_ends_its_cell_alone(foreign, run, tmp_path):
    methods = "popularity, of_leaving, of_memory, of_silence, id_only"
    backbones = "{use: of_forward, dim: 8}, {use: sasrec, dim: 8}"
    ran = run(text=f"{SPEC}matrix: {{recommender.method: [{methods}], recommender.backbone: [{backbones}]}}\n")
    assert (ran.code, "2 of 6 cells done" in ran.out) == (3, True)
    lines = ran.err.splitlines()
    logs = sorted((tmp_path / "results" / "logs").iterdir())
    assert (len(lines), len(logs)) == (4, 4)
    found = "".join(lines)
    assert "methods/of_leaving.py:12: the method 'of_leaving' raised SystemExit: bye" in found
    assert "of_memory.py:12: out of memory: RuntimeError: " in found
    assert "the method 'of_silence' raised Mute -> fix the plugin; the traceback is in results/logs/" in found
    assert "backbones/of_forward.py:10: the backbone 'of_forward' raised ZeroDivisionError" in found
    assert any("ZeroDivisionError" in log.read_text() and "Traceback" in log.read_text() for log in logs)
    assert run(text=SPEC.replace("id_only", "of_leaving")).code == 1


def test_debugging_lets_an_exception_through(foreign, run, monkeypatch):
    monkeypatch.setenv("LLMEMB_BENCH_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run("--set", "recommender.backbone={use: of_forward, dim: 8}")
    assert run("--set", "evaluate.cutoffs=[99]").code == 2


def test_settings_that_raise_are_one_line_where_they_stand(foreign, run, cli):
    ran = run("--set", "recommender.backbone={use: of_settings, dim: 8}", verb="validate")
    message = "the backbone 'of_settings' cannot check its settings: KeyError: 'one\\ntwo\\x1b[31m'"
    one_line(ran, message, code=2)
    assert cli("show", "of_settings").code == 0
    assert "failed: " in cli("test", "of_settings").out


@pytest.mark.parametrize("fault", AT_IMPORT)
def test_a_plugin_that_cannot_be_imported_is_one_line_in_every_verb(fault, foreign, run, cli):
    (foreign / "backbones" / "of_import.py").write_text(f'"""Cannot be imported."""\n{AT_IMPORT[fault]}\n')
    entries.cache_clear()
    one_line(cli("show", "of_import"), "the backbone 'of_import' ", "of_import.py: ", code=1)
    one_line(run("--set", "recommender.backbone=of_import", verb="validate"), "'of_import' ", code=2)
    listed = cli("list", "backbones", "--check")
    assert (listed.code, listed.out.count("BROKEN"), listed.err) == (1, 1, "")
    tested = cli("test", "of_import")
    assert (tested.code, "Traceback" in tested.out + tested.err) == (1, False)
    assert cli("schema").code == 0


@pytest.mark.parametrize(
    ("module", "fix"),
    [
        ("llmemb_bench.errors", "import it from llmemb_bench.base.errors"),
        ("llmemb_bench.contract", "import it from llmemb_bench.contracts"),
        ("llmemb_plugins.backbones._nope", "fix the file, then: llmemb-bench list backbones --check"),
    ],
)
def test_a_module_that_an_installed_package_does_not_have_is_no_missing_package(module, fix, foreign, cli):
    (foreign / "backbones" / "of_import.py").write_text(f'"""Imports what is not there."""\nimport {module}\n')
    entries.cache_clear()
    package = module.partition(".")[0]
    told = f"of_import.py: the backbone 'of_import' imports '{module}', which the package '{package}' does not have"
    one_line(cli("show", "of_import"), told, f" -> {fix}", code=1)


def test_an_entry_point_to_nothing_leaves_the_others(foreign, cli):
    info = foreign.parent / "hostile_plugins-0.1.dist-info"
    (info / "entry_points.txt").write_text("[llmemb_bench.plugins]\nhostile = nowhere.plugins\n")
    entries.cache_clear()
    ran = cli("list", "metrics")
    assert (ran.code, "ndcg" in ran.out) == (0, True)
    assert "the plugins of hostile-plugins are left out: 'nowhere.plugins' cannot be found" in ran.err


def test_what_nobody_expected_is_one_line_with_a_log(cli, monkeypatch, tmp_path):
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("one\ntwo")

    monkeypatch.setattr("llmemb_bench.report.rows.read_rows", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ran = cli("report", "--results", tmp_path / "absent")
    one_line(ran, "llmemb-bench raised ZeroDivisionError: one -> a defect: please report it with ", code=1)
    log = next((tmp_path / "llmemb-bench-logs").iterdir())
    assert str(log) in ran.err
    assert "Traceback" in log.read_text()
    assert not (tmp_path / "absent").exists()
    (tmp_path / "there").mkdir()
    assert str(tmp_path / "there" / "logs") in cli("report", "--results", tmp_path / "there").err


def test_an_expected_failure_stays_what_it_is():
    error = BenchError("x")
    assert as_failure(error) is error


# Characters that nobody sees


UNSEEN = {
    "\x1b": "\\x1b",
    "\x07": "\\x07",
    "\x9b": "\\x9b",
    "\x7f": "\\x7f",
    "\u202e": "\\u202e",
    "\u2066": "\\u2066",
    "\u200b": "\\u200b",
    "\ufeff": "\\ufeff",
    "\u2028": "\\u2028",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\0": "\\x00",
    "\ud800": "\\ud800",
    "\U000e0041": "\\U000e0041",
}


@pytest.mark.parametrize("one", UNSEEN)
def test_an_unseen_character_is_shown(one):
    assert terminal.shown(f"é{one}中") == f"é{UNSEEN[one]}中"


def test_letters_spaces_and_signs_stay_as_they_are():
    text = "Ærø £5 — naïve café \xa0 中文 👍 [red]x[/red] \\n"
    assert terminal.shown(text) == text


def test_json_says_the_same_without_them():
    value = {f"k{one}": [f"v{one}é"] for one in UNSEEN}
    text = terminal.as_json(value)
    assert json.loads(text) == value
    assert text.replace("\n", "").isprintable()
    assert "é" in text


def test_tables_take_no_markup_and_show_what_is_unseen(capsys):
    from rich.table import Table

    table = Table("[red]a[/]\x1b[0m", title="[bold]t[/]\u202e")
    table.add_row("[link=x]y[/link] :smile:\x9b")
    terminal.console(80).print(table)
    out = capsys.readouterr().out
    assert all(part in out for part in ("[red]a[/]\\x1b[0m", "[bold]t[/]\\u202e", "[link=x]y[/link] :smile:\\x9b"))


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory):
    """Ids and titles with escapes, bidirectional marks, line separators and markup."""
    folder = tmp_path_factory.mktemp("hostile")
    ids = [f"i{place}\x1b[31m\u202e[red]" for place in range(9)]
    rows = [f"u\x9b{user},{ids[(user + place) % 9]},{place}\n" for user in range(9) for place in range(4)]
    (folder / "events.csv").write_text("user,item,time\n" + "".join(rows))
    (folder / "items.csv").write_text("item,title\n" + "".join(f"{one},So\u2028ap \x07[bold] {one}\n" for one in ids))
    text = (
        "version: 1\nname: mine\ndataset: {use: table, events: events.csv, items: items.csv}\n"
        "embeddings: {encoder: {use: random, dim: 4}}\nrecommender: {method: popularity}\n"
        "evaluate: {protocols: [full], cutoffs: [5]}\n"
    )
    (folder / "spec.yaml").write_text(text)
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ("recommend", "popularity", "--user", "u\x9b1"),
        ("recommend", "popularity", "--user", "u\x9b1", "--format", "json"),
        ("recommend", "popularity", "--history", "nobody\x1b[31m"),
        ("recommend", "popularity", "--user", "nobody\u202e"),
        ("neighbours", "vectors.parquet", "i1\x1b[31m\u202e[red]"),
        ("neighbours", "vectors.parquet", "i1\x1b[31m\u202e[red]", "--format", "json"),
        ("neighbours", "vectors.parquet", "nothing"),
        ("report",),
        ("data", "describe", "spec.yaml"),
        ("validate", "absent\x1b[31m.yaml"),
        ("show", "nothing\x1b[31m"),
        ("run", "spec.yaml", "--set", "dataset.user=us\x1b[31m", "--progress", "plain"),
        ("run", "spec.yaml", "--set", 'dataset.events="\\e[31m.csv"', "--progress", "plain"),
    ],
    ids=lambda words: " ".join(words).encode("ascii", "backslashreplace").decode(),
)
def test_nothing_unseen_reaches_the_terminal(words, hostile_run, cli, monkeypatch):
    monkeypatch.chdir(hostile_run)
    assert cli("run", "spec.yaml", "--progress", "none").code == 0
    assert cli("embed", "spec.yaml", "-o", "vectors.parquet", "--progress", "none").code == 0
    ran = cli(*words)
    assert (ran.out + ran.err).replace("\n", "").isprintable()
    if words[0] in ("recommend", "neighbours") and ran.code == 0 and "json" not in words:
        assert "\\x1b[31m\\u202e[red]" in ran.out


def test_a_problem_of_any_length_stays_a_line_that_one_can_read():
    assert len(str(Problem("w" * 10**6, "f" * 10**6, "x" * 10**6))) < 10_000
