"""What the user allowed on the command line; like progress, a setting of the process."""

from __future__ import annotations

_remote_code = False


def allow_remote_code(allowed: bool) -> None:
    """`--trust-remote-code`: one half of what running a checkpoint's own code takes, the other stands in the spec."""
    global _remote_code
    _remote_code = allowed


def is_remote_code_allowed() -> bool:
    """Whether the command line said so."""
    return _remote_code
