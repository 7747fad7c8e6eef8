"""`new`: a working plugin file to start from."""

from __future__ import annotations

import keyword
from pathlib import Path

from llmemb_bench.errors import SpecError
from llmemb_bench.registry import KINDS, suggestion

SKELETONS = Path(__file__).parent / "skeletons"


def new_plugin(kind: str, name: str, package: Path) -> Path:
    """Write `<package>/<kind>/<name>.py` from the kind's skeleton; never over an existing file."""
    if kind not in KINDS:
        raise SpecError(f"no kind of plugin is called '{kind}'", fix=suggestion(kind, list(KINDS)))
    if not name.isidentifier() or name != name.lower() or keyword.iskeyword(name) or name.startswith("_"):
        raise SpecError(f"'{name}' cannot name a plugin", fix="use lower-case letters, digits and _, e.g. my_plugin")
    path = package / kind / f"{name}.py"
    if path.exists():
        raise SpecError("exists already", where=str(path), fix="choose another name, or delete it first")
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder in (package, path.parent):
        (folder / "__init__.py").touch()
    title = "".join(part.capitalize() for part in name.split("_"))
    text = (SKELETONS / f"{kind}.py").read_text(encoding="utf-8")
    path.write_text(text.replace("Skeleton", title).replace("skeleton", name), encoding="utf-8")
    return path
