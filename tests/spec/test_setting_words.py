"""What a spec gets wrong is told in words: what may stand there, what stood there, and what was probably meant."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, Field

from llmemb_bench.base.errors import SpecError
from llmemb_bench.registry.config import Config, SpecPath
from llmemb_bench.registry.entries import entries
from llmemb_bench.registry.kinds import LossChoice
from llmemb_bench.spec.cells import load_cells
from llmemb_bench.spec.words import described

SPEC = """version: 1
name: mine
seeds: [42]
dataset: {use: synthetic}
recommender:
  method: id_only
  backbone: {use: sasrec}
  objective: bce
  train: {epochs: 1}
evaluate: {protocols: [full]}
"""

PROTOCOL = "'evaluate.protocols.0' should be full or sampled-N (N items beside the target, for example sampled-100)"
JARGON = re.compile(r"Input|valid (integer|number|string|boolean|list|dict)|pattern|unable to|\^|literal|Validator")


def problem(tmp_path, written: str, instead: str, text: str = SPEC) -> str:
    assert instead in text
    path = tmp_path / "spec.yaml"
    path.write_text(text.replace(instead, written))
    with pytest.raises(SpecError) as raised:
        load_cells(path)
    [found] = raised.value.problems
    return str(found).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("instead", "written", "told"),
    [
        ("[full]", "[sampled100]", f"{PROTOCOL}, got 'sampled100' -> did you mean 'sampled-100'?"),
        ("[full]", "[sampled_50]", "-> did you mean 'sampled-50'?"),
        ("[full]", "[Full]", "-> did you mean 'full'?"),
        ("[full]", "[sampled-0]", "got 'sampled-0'"),
        ("[full]", "[]", "'evaluate.protocols' is empty, should name at least one protocol -> protocols: [...]"),
        ("[full]", "[full, full]", "'evaluate.protocols' should name each one once, full appears twice"),
        ("[full]", "full", "should be a list of at least 1 (each: full or sampled-N (N items"),
        ("[42]", "[]", "spec.yaml:3: 'seeds' is empty, should name at least one seed -> seeds: [...]"),
        ("[42]", "[42, 43, 42]", "spec.yaml:3: 'seeds' should name each one once, 42 appears twice, got [42, 43, 42]"),
        (
            "[42]",
            "42",
            "a list of at least 1 (each: whole number, 0 or more and below 9,223,372,036,854,775,808), got 42 -> [42]",
        ),
        ("[42]", "[-1]", "'seeds.0' should be a whole number, 0 or more and below 9,223,372,036,854,775,808, got -1"),
        (
            "[42]",
            "[4.0]",
            "'seeds.0' should be a whole number, 0 or more and below 9,223,372,036,854,775,808, got 4.0 -> 4",
        ),
        ("[42]", "null", "got null"),
        ("mine", "my experiment", "-> did you mean 'my-experiment'?"),
        ("mine", "-x", "should be a name of 1 to 100 letters, digits, '_', '.' and '-', the first a letter or digit"),
        ("mine", "2024", "'name' should be a name of 1 to 100 letters"),
        ("epochs: 1", "epochs: '1'", "should be a whole number, 1 or more, got '1' -> without quotes: 1"),
        ("epochs: 1", "epochs: true", "should be a whole number, 1 or more, got true"),
        ("epochs: 1", "epochs: [1]", "should be a whole number, 1 or more, got [1]"),
        ("epochs: 1", "learning_rate: '1,5'", "should be a number, above 0, got '1,5'"),
        ("epochs: 1", "learning_rate: .inf", "should be a finite number, got inf"),
        ("epochs: 1", "learning_rate: .nan", "should be a finite number, got nan"),
        ("epochs: 1", "compile: yes", "should be true or false, got 'yes' -> true"),
        ("epochs: 1", "betas: [0.9]", "should be a list of 2 (each: number, 0 or more and below 1), got [0.9]"),
        ("epochs: 1", "rows: touch", "should be all or touched, got 'touch' -> did you mean 'touched'?"),
        ("epochs: 1", "monitor: [ndcg]", "should name one of the metrics"),
        ("train: {epochs: 1}", "train: fast", "'recommender.train' should be settings (batch_size, "),
        (
            "synthetic",
            "synthetic, memory_limit: 400mb",
            "a size as 400MB or 2.5 GB, got '400mb' -> did you mean '400MB'?",
        ),
        ("synthetic", "synthetic, phrases: {title: 3}", "phrases.title' should be text, got 3 -> with quotes: '3'"),
        ("synthetic", "synthetic, attributes: [a, a]", "attributes' should name each one once, a appears twice"),
        ("synthetic", "synthetic, signal: 2", "'dataset.signal' should be a number from 0 to 1, got 2"),
        ("version: 1", "version: 2", "'version' should be 1, got 2"),
        (
            "evaluate:",
            "split: {by: time, test_from: 2014/07/23, validation_from: 2014-07-01}\nevaluate:",
            "should be a day as 2014-07-23 or null, got '2014/07/23' -> did you mean '2014-07-23'?",
        ),
        (
            "evaluate:",
            "split: {by: time, test_from: '2014-13-23', validation_from: 2014-07-01}\nevaluate:",
            "should be a day of the calendar, got '2014-13-23'",
        ),
        (
            "evaluate:",
            "matrix: {recommender.train.epochs: []}\nevaluate:",
            "'matrix.recommender.train.epochs' is empty, should name at least one epoch",
        ),
        ("evaluate:", "matrix: {recommender.train.epochs: [1, 1]}\nevaluate:", "1 appears twice, got [1, 1]"),
        ("evaluate:", "matrix: {recommender.method: 5}\nevaluate:", "should be a list of at least 1, got 5 -> [5]"),
    ],
)
def test_a_mistake_is_told_in_words(instead, written, told, tmp_path):
    found = problem(tmp_path, written, instead)
    assert told in found
    assert not JARGON.search(found)
    assert re.match(r"spec\.yaml:\d+: ", found)


class Inner(Config):
    """A part."""

    rank: Annotated[int, Field(ge=1)] = 8
    """Rank."""


class Odd(Config):
    """Settings of all kinds."""

    choice: Literal["a", "b"] | bool = "a"
    inner: Inner | bool | None = None
    loss: LossChoice | None = None
    path: SpecPath | None = None
    table: dict[str, Inner] = {}
    pair: tuple[int, str] | list[str] = []
    checked: Annotated[str, AfterValidator(str.strip)] | None = None
    anything: Any = None
    few: Annotated[int, Field(ge=2)] | None = None
    large: Annotated[int, Field(ge=1, le=10**6)] = 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("choice", "a, b, true or false"),
        ("inner", "settings (rank), true, false or null"),
        ("loss", "one of the losses or null"),
        ("path", "path or null"),
        ("table", "mapping (each value: settings (rank))"),
        ("checked", "text or null"),
        ("anything", "anything"),
        ("few", "whole number, 2 or more, or null"),
        ("large", "whole number from 1 to 1,000,000"),
    ],
)
def test_a_type_is_told_in_words(name, words):
    assert described(Odd).at([name]).words() == words


def test_a_place_further_in_is_found_through_alternatives_and_mappings():
    assert described(Odd).at(["inner", "rank"]).words() == "whole number, 1 or more"
    assert described(Odd).at(["table", "any", "rank"]).words() == "whole number, 1 or more"
    assert described(Odd).at(["inner"]).names() == ["rank"]


def test_of_a_union_only_the_alternative_that_was_meant_is_told(tmp_path):
    text = SPEC.replace("method: id_only", "method: {use: llmemb}").replace(
        "evaluate:",
        "embeddings: {encoder: {use: sentence_encoder, checkpoint: 'package:x', lora: {rank: 0}}}\nevaluate:",
    )
    assert problem(tmp_path, "[full]", "[full]", text) == (
        "spec.yaml:10: 'embeddings.encoder.lora.rank' should be a whole number, 1 or more, got 0"
    )
    assert problem(tmp_path, "rnk: 1", "rank: 0", text) == (
        "spec.yaml:10: unknown key 'embeddings.encoder.lora.rnk' -> did you mean 'rank'?"
    )


def test_a_doubled_seed_on_the_command_line_is_said_there(cli, tmp_path):
    (tmp_path / "s.yaml").write_text(SPEC)
    ran = cli("run", tmp_path / "s.yaml", "--seed", 1, "--seed", 1)
    assert ran.code == 2
    assert ran.err.endswith("error: --seed: 'seeds' should name each one once, 1 appears twice, got [1, 1]\n")


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: f"{entry.kind}/{entry.name}")
def test_every_setting_of_every_plugin_has_words(entry):
    settings = described(entry.load().config_type())
    for key in settings.names():
        words = settings.at([key]).words()
        assert words not in ("", "anything")
        assert not re.search(r"Validator|function|\^|\$|\\|typing|Annotated|0x|None", words), words
