"""Settings of the split: what names it in tables, and what of it decides which events are which."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from llmemb_bench.settings.split import SplitConfig

DAYS = {"validation_from": "2014-07-22", "test_from": "2014-07-23"}


@pytest.mark.parametrize(
    ("given", "label", "protocol"),
    [
        ({}, "", {"by": "last_two"}),
        ({"by": "file"}, "split by file", {"by": "file"}),
        ({"by": "time"}, "split by time", {"by": "time", "validation_share": 0.1, "test_share": 0.1}),
        (
            {"by": "time", "test_share": 0.2},
            "split by time",
            {"by": "time", "validation_share": 0.1, "test_share": 0.2},
        ),
        ({"by": "time", **DAYS}, "split by time", {"by": "time", **DAYS}),
    ],
)
def test_the_protocol_is_what_decides_and_nothing_else(given, label, protocol):
    config = SplitConfig.model_validate(given)
    assert (config.label, config.protocol()) == (label, protocol)


def test_validation_needs_a_day():
    with pytest.raises(ValidationError, match="validation_from before test_from"):
        SplitConfig.model_validate({"by": "time", "validation_from": "2014-07-23", "test_from": "2014-07-23"})


@pytest.mark.parametrize("share", [0, 0.5, -0.1])
@pytest.mark.parametrize("name", ["validation_share", "test_share"])
def test_a_share_is_more_than_nothing_and_less_than_half(name, share):
    with pytest.raises(ValidationError, match=r"(greater|less) than"):
        SplitConfig.model_validate({"by": "time", name: share})
