"""How settings of one name differ: `epochs=3` where all else is the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Loc = tuple[str, ...]
LONGEST = 40
"""Characters of a value; of a longer one, the last."""


def differences(several: Sequence[Mapping[str, Any]]) -> list[dict[Loc, str]]:
    """For each of several resolved settings, the keys where they differ and their values there.

    A setting that only some of them have distinguishes those that are otherwise the same. Two that differ in no setting
    that both have get the same answer.
    """
    found: list[dict[Loc, str]] = [{} for _ in several]
    for loc, values in _differing(several, ()):
        for own, value in zip(found, values, strict=True):
            own[loc] = short(value)
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, own in enumerate(found):
        groups.setdefault(tuple(own.values()), []).append(index)
    if len(groups) > 1:
        for indices in groups.values():
            for index, more in zip(indices, differences([several[index] for index in indices]), strict=True):
                found[index] |= more
    return found


def in_words(details: Mapping[Loc, str]) -> str:
    """`epochs=3, dim=8`: each setting by the last word of its key, by more words where two end in the same one."""
    last = [loc[-1] for loc in details]
    named = {loc: ".".join(loc[-1:] if last.count(loc[-1]) == 1 else loc[-2:]) for loc in details}
    return ", ".join(f"{named[loc]}={value}" for loc, value in details.items())


def with_detail(label: str, detail: str) -> str:
    """`id_only (epochs=3)`, or one more detail of a label that has some."""
    if not detail:
        return label
    return f"{label[:-1]}, {detail})" if label.endswith(")") else f"{label} ({detail})"


def _differing(values: Sequence[Any], loc: Loc) -> Iterator[tuple[Loc, Sequence[Any]]]:
    """Every key that all have with values that are not all the same; different plugins differ as a whole."""
    if all(value == values[0] for value in values):
        return
    if all(isinstance(value, Mapping) and value.get("use") == values[0].get("use") for value in values):
        for key in values[0]:
            if all(key in value for value in values):
                yield from _differing([value[key] for value in values], (*loc, key))
    elif all(isinstance(value, list) and _uses(value) == _uses(values[0]) != () for value in values):
        for place, inner in enumerate(zip(*values, strict=True)):
            yield from _differing(inner, (*loc, str(place)))
    else:
        yield loc, values


def _uses(several: Sequence[Any]) -> tuple[Any, ...]:
    """The plugins of a list of them; nothing for a list of anything else."""
    return tuple(one["use"] for one in several if isinstance(one, Mapping) and "use" in one)


def short(value: Any) -> str:
    """A value in a few words: the name of a plugin instead of its settings."""
    if isinstance(value, Mapping):
        return str(value.get("use", "set"))
    if isinstance(value, list):
        return f"[{', '.join(map(short, value))}]"
    text = "none" if value is None else str(value)
    return text if len(text) <= LONGEST else f"…{text[-LONGEST:]}"
