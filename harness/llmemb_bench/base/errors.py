"""What can go wrong through no fault of the code: exceptions, sorted by who must act.

An error gives the location, the finding and the fix. The command line prints it in one line and exits
with its code; a traceback means a bug of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

LONGEST = 2_000
"""Characters of a part of an error."""


def one_line(error: BaseException) -> str:
    """`ZeroDivisionError: division by zero`: the type of a foreign exception and the first line of its message."""
    try:
        message = str(error).strip().partition("\n")[0]
    except Exception:  # it may fail to say anything
        message = ""
    name = type(error).__name__
    return f"{name}: {_cut(message)}" if message else name


class Exit(IntEnum):
    """Exit codes of the command line."""

    DONE = 0
    FAILED = 1
    """A run failed: the data or the numbers do not allow it."""
    USAGE = 2
    """The spec or the command line is wrong."""
    SOME_FAILED = 3
    """Some cells of a matrix failed; the others are in the store."""
    ENVIRONMENT = 4
    """Something is missing on this machine: data, weights, an extra, a variable."""
    MISMATCH = 5
    """A file has changed, or is not the known one."""
    INTERRUPTED = 130
    TERMINATED = 143
    """By SIGTERM: 128 and the signal's number, as a shell counts."""


@dataclass(frozen=True)
class Problem:
    """One problem: where it is, what was found, what to type next."""

    where: str
    finding: str
    fix: str = ""

    def __str__(self) -> str:
        where = f"{_cut(self.where)}: " if self.where else ""
        fix = f" -> {_cut(self.fix)}" if self.fix else ""
        return f"{where}{_cut(self.finding)}{fix}"


def _cut(words: str) -> str:
    """What a file holds may be quoted in an error, and be of any length."""
    return words if len(words) <= LONGEST else f"{words[:LONGEST]}..."


class BenchError(Exception):
    """An expected failure; carries every problem that was found, not only the first."""

    exit_code: Exit = Exit.FAILED

    def __init__(self, finding: str, *, where: str = "", fix: str = "") -> None:
        self.problems: tuple[Problem, ...] = (Problem(where, finding, fix),)
        super().__init__(str(self.problems[0]))

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> BenchError:
        """One error for many problems, in the order they were found."""
        error = cls(problems[0].finding)
        error.problems = tuple(dict.fromkeys(problems))
        error.args = ("\n".join(map(str, error.problems)),)
        return error


class DataError(BenchError):
    """The data cannot be used as they are (exit code 1)."""


class SpecError(BenchError):
    """The spec or the command line asks for something impossible (exit code 2)."""

    exit_code = Exit.USAGE


class MissingError(BenchError):
    """The machine lacks a file, a package or a variable (exit code 4)."""

    exit_code = Exit.ENVIRONMENT
