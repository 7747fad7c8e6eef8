"""Every number of the shipped small specs, shortened: recorded before a change of the house and equal after it.

python tests/golden.py record FILE     write down what the code gives now
python tests/golden.py compare FILE    run again, name what differs, and end with 1 where something does

Weights are compared by hash, so both runs belong on one machine with as many threads.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

ROOT = Path(__file__).parent.parent
METHODS = (
    "matrix={recommender.method: [{use: llmemb, alignment: {weight: 0.0}}, {use: llmemb, freeze: false}, "
    "{use: llmemb, adapter: mlp}, {use: llmemb, adapter: moe}, {use: llmemb, ids: add}, "
    "{use: llmemb, ids: concatenate, alignment: {repeats: true}}]}"
)
"""The settings of `beauty5_ablation.yaml` that quickstart's vectors allow."""
SHORT = "recommender.train.epochs=2"
RUNS: dict[str, tuple[str, ...]] = {
    "quickstart": ("quickstart.yaml",),
    "methods": ("quickstart.yaml", "--seed", "42", "--set", SHORT, "--set", METHODS),
    "ml100k_sasrec": ("ml100k_sasrec.yaml", "--seed", "42", "--set", SHORT),
    "ml100k_backbones": ("ml100k_backbones.yaml", "--set", SHORT),
    "yelp_ids_published": ("yelp_ids_published.yaml", "--set", "recommender.train.epochs=1"),
}


def run(words: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """Run folder to what its run measured, ranked and learnt."""
    spec, *rest = words
    data = os.environ.get("LLMEMB_BENCH_DATA", str(ROOT.parent / "shared" / "data"))
    command = [sys.executable, "-m", "llmemb_bench", "run", ROOT / "specs" / spec, *rest, "--results", folder]
    environment = os.environ | {"LLMEMB_BENCH_DATA": data, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--progress", "plain"], check=True, env=environment, stdout=sys.stderr)
    return {_name(manifest): _result(manifest.parent) for manifest in sorted(folder.glob("runs/*/*/manifest.json"))}


def _name(manifest: Path) -> str:
    """Of a run, whatever its folder is called."""
    told = json.loads(manifest.read_text())
    return ", ".join(str(told[part]) for part in ("method", "backbone", "encoder", "seed"))


def _result(folder: Path) -> dict[str, Any]:
    rows = duckdb.sql(f"select * from read_parquet('{folder / 'per_user.parquet'}') order by all").fetchall()
    weights = folder / "weights.safetensors"
    return {
        "metrics": json.loads((folder / "metrics.json").read_text()),
        "per_user": hashlib.sha256(repr(rows).encode()).hexdigest(),
        "weights": hashlib.sha256(weights.read_bytes()).hexdigest() if weights.exists() else None,
    }


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Spec, run and file of everything that is not equal."""
    found = []
    for spec in before:
        for name in before[spec].keys() | after[spec].keys():
            old, new = before[spec].get(name, {}), after[spec].get(name, {})
            found += [f"{spec}: {name}: {part}" for part in old.keys() | new.keys() if old.get(part) != new.get(part)]
    return sorted(found)


def main(task: str, file: Path) -> int:
    """Record or compare."""
    with TemporaryDirectory() as folder:
        found = {spec: run(words, Path(folder) / spec) for spec, words in RUNS.items()}
    if task == "record":
        file.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        return 0
    other = differences(json.loads(file.read_text()), found)
    count = sum(len(runs) for runs in found.values())
    print("\n".join([*other, f"{count} runs compared, {len(other)} files differ"]))  # noqa: T201
    return 1 if other else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
