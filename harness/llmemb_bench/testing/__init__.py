"""The contract checks of every kind, for our plugins and for yours: `llmemb-bench test NAME`."""

from llmemb_bench.testing.runner import Result, run_checks

__all__ = ["Result", "run_checks"]
