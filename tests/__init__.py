"""Tests: a folder for each room of the harness and one for plugins; beside them, what concerns the whole project."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent
