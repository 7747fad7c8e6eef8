"""Options that several verbs have, and what the verbs that compute do first and last."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from llmemb_bench.base.errors import Exit, MissingError, SpecError
from llmemb_bench.base.permissions import allow_remote_code
from llmemb_bench.base.signals import interruptible
from llmemb_bench.registry.config import typed
from llmemb_bench.registry.defects import keep_logs_in


def _noted(results: Path) -> Path:
    keep_logs_in(results)
    return results


Results = Annotated[
    Path,
    typer.Option(
        help="Folder of runs, cache and store.",
        envvar="LLMEMB_BENCH_RESULTS",
        parser=typed,
        metavar="PATH",
        callback=_noted,
    ),
]
Seeds = Annotated[list[int] | None, typer.Option("--seed", help="Only this seed; repeatable.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as a.b=value; repeatable."),
]
ProgressMode = Annotated[
    Literal["rich", "plain", "none"] | None,
    typer.Option("--progress", help="How progress is shown; by default a bar on a terminal and plain lines elsewhere."),
]
RemoteCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Let a checkpoint run its own code, if the spec allows it too."),
]
ACCELERATE = "--accelerate-config"
AccelerateConfig = Annotated[
    Path | None,
    typer.Option(
        ACCELERATE, help="Run on all processes of this `accelerate config` file.", parser=typed, metavar="PATH"
    ),
]

DEFAULT_RESULTS = Path("results")


@contextmanager
def begin(remote_code: bool, accelerate_config: Path | None) -> Iterator[None]:
    """Start the work of a verb: with an accelerate file, in the processes it names; an interrupt is no traceback."""
    allow_remote_code(remote_code)
    if accelerate_config is not None:
        raise typer.Exit(_launch(accelerate_config))
    from llmemb_bench.processes.world import leave

    try:
        with interruptible():
            yield
        leave()
    except KeyboardInterrupt as stopped:
        sys.stderr.write("interrupted; run the same command again and it does only what is missing\n")
        raise typer.Exit(int(Exit.INTERRUPTED)) from stopped


def _refuse_unusable(config: Path) -> None:
    """What accelerate would do in another way than its file says, or we than it says."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        given = YAML(typ="safe", pure=True).load(config.read_text(encoding="utf-8"))
    except (YAMLError, ValueError) as error:
        raise SpecError(f"cannot be read: {str(error).splitlines()[0]}", where=str(config)) from error
    if not isinstance(given, dict):
        raise SpecError("is not an accelerate file", where=str(config), fix=f"accelerate config --config_file {config}")
    count = given.get("num_processes", 1)
    if given.get("use_cpu") and count != 1 and "mpirun_config" not in given:
        fix = f"torchrun --nproc-per-node {count} --no-python llmemb-bench ... in place of it, or an mpirun_config"
        raise SpecError("accelerate starts one process only where there is no GPU", where=str(config), fix=fix)
    if str(given.get("distributed_type")) in ("DEEPSPEED", "MEGATRON_LM"):
        raise SpecError("is not supported", where=f"{config}: distributed_type", fix="MULTI_GPU, or FSDP")
    if str(given.get("mixed_precision", "no")) not in ("no", "False"):
        fix = "mixed_precision: 'no', and dtype: bfloat16 in the spec"
        raise SpecError("precision is the spec's to say", where=f"{config}: mixed_precision", fix=fix)


def _launch(config: Path) -> int:
    """This very command under `accelerate launch`, without the option that brought us here."""
    if not config.is_file():
        raise MissingError(f"no file {config}", where=ACCELERATE, fix=f"accelerate config --config_file {config}")
    if importlib.util.find_spec("accelerate") is None:
        raise MissingError("accelerate is not installed", where=ACCELERATE, fix="pip install 'llmemb-bench[text]'")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SpecError("several processes are running already", where=ACCELERATE, fix="leave the option out")
    _refuse_unusable(config)
    words = [word for word in sys.argv[1:] if not word.startswith(f"{ACCELERATE}=")]
    if ACCELERATE in words:
        index = words.index(ACCELERATE)
        del words[index : index + 2]
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    os.environ["PYTHONSAFEPATH"] = "1"  # `python -m` would import a json.py of the current folder
    launch = launch_command_parser().parse_args(["--config_file", str(config), "-m", "llmemb_bench", *words])
    try:
        launch_command(launch)
    except subprocess.CalledProcessError as error:  # of one process
        return error.returncode
    except ChildFailedError as error:  # of several: that of the first to fail
        return min(error.failures.values(), key=lambda failure: failure.timestamp).exitcode
    return int(Exit.DONE)
