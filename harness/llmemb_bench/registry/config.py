"""What a user may write: the base of every settings class, a choice of plugin, a path.

Strict on purpose: an unknown key, a quoted number or `true` for 1 is an error at its line, because a
setting that is silently ignored or converted gives a number nobody asked for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from llmemb_bench.base.errors import MissingError, SpecError

if TYPE_CHECKING:
    from llmemb_bench.contracts import Plugin

T = TypeVar("T")
P = TypeVar("P", bound="Plugin")
C = TypeVar("C", bound="Config")

MACHINE = object()
"""Marks a setting (`Annotated[str, MACHINE]`) that says how much of the machine to use: no result depends on it,
so nothing is computed again when it changes."""


WORDS = "x-words"
"""Key of a JSON Schema that tells in words what a pattern allows: `Field(pattern=..., json_schema_extra={WORDS: ...})`.
"""


def distinct(values: list[T]) -> list[T]:
    """For a list that means nothing more where a value appears twice (`AfterValidator(distinct)`)."""
    twice = next((value for index, value in enumerate(values) if value in values[:index]), None)
    if twice is not None:
        raise ValueError(
            f"should name each one once, {twice.use if isinstance(twice, Choice) else twice} appears twice"
        )
    return values


SHELL_VARIABLE = re.compile(r"\$(?:env:)?([A-Za-z_]\w*)|\$\{([A-Za-z_]\w*)\}|%([A-Za-z_]\w*)%")
"""`$HOME`, `${HOME}`, PowerShell's `$env:HOME` and `%HOME%`"""
OWN_VARIABLE = re.compile(r"\$\{env:(\w+)\}")
SHELL = re.compile(r"\$[({]|`")
"""What else only a shell reads, where a spec has no variable."""
OF_WINDOWS = re.compile(r"([A-Za-z]):[\\/]|\\\\")


def expanded(path: str | Path) -> Path:
    """A path as a user writes it: `~` and `~user` are home folders, as in a shell."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  # pathlib's raises where a shell leaves `~nobody`


UNFILLED = re.compile(r"(?:^|[\\/])(?:\$[A-Za-z_({]|%[A-Za-z_]\w*%)")
"""A part of a path that begins with a variable or a command of a shell."""


def typed(path: str | Path) -> Path:
    """A path of the command line; an empty one, or one that its shell did not fill in, is a SpecError."""
    if not str(path):
        raise SpecError("a path on the command line is empty", fix="name one; is a variable in it not set?")
    filled = expanded(path)
    if UNFILLED.search(str(path)) and not os.path.lexists(filled):
        fix = f'"{path}" in double quotes, or the path itself'
        raise SpecError(f"'{path}' is not a path on this machine: the shell did not expand it", fix=fix)
    return filled


class Config(BaseModel):
    """Base of all settings; the string under a field is its documentation (`llmemb-bench show`)."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class SpecText(str):
    """A string read from a spec; remembers the folder that its relative paths start from."""

    folder: Path

    def __new__(cls, text: str, folder: Path) -> SpecText:
        made = super().__new__(cls, text)
        made.folder = folder
        return made

    def __deepcopy__(self, memo: object) -> SpecText:
        return self  # immutable


@dataclass(frozen=True)
class SpecPath:
    """A path as the user wrote it: relative to its spec, `${env:NAME}` allowed, resolved only when used."""

    text: str
    folder: Path = field(default_factory=Path.cwd, compare=False)

    @property
    def is_path(self) -> bool:
        """Whether it names a file or folder of this machine."""
        return True

    def resolve(self) -> Path:
        """The absolute path; a variable that is not set is an error that names it (exit code 4)."""
        return self.filled().resolve()

    def filled(self) -> Path:
        """The path with its variables and home folder, from where its spec lies. A variable that is not set, or a text
        that cannot be a path, is a MissingError; a path of another shell or system is a SpecError."""
        try:
            path = self.folder / expanded(OWN_VARIABLE.sub(_variable, self.text))
            is_there = path.resolve().exists()
        except (OSError, RuntimeError, ValueError) as error:  # a circle of links, a NUL, a name that is too long
            raise MissingError(f"'{self.text}' cannot be a path: {error}", fix="check the name") from error
        if not is_there:
            self._refuse_foreign()
        return path

    def _refuse_foreign(self) -> None:
        """A file may well have a dollar in its name; where there is none, a variable of the shell is meant."""
        finding, slashed = f"'{self.text}' is not a path on this machine", self.text.replace("\\", "/")
        if named := SHELL_VARIABLE.search(self.text):
            meant = SHELL_VARIABLE.sub(r"${env:\1\2\3}", slashed)
            raise SpecError(f"{finding}, and {named[0]} is not how a spec names a variable", fix=f'"{meant}"')
        if SHELL.search(OWN_VARIABLE.sub("", self.text)):
            fix = '"${env:NAME}/..." for a variable of the environment, or the path itself'
            raise SpecError(f"{finding}, and no shell reads a spec", fix=fix)
        if (drive := OF_WINDOWS.match(self.text)) and os.name != "nt":
            where = f"/mnt/{drive[1].lower()}{slashed[2:]}, if it is mounted there (WSL)" if drive[1] else "mount it"
            raise SpecError(f"{finding} but of Windows", fix=where)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            cls._of,
            core_schema.is_instance_schema(cls),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda path: path.text),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", WORDS: "path", "description": "a path, relative to this file; ${env:NAME} is allowed"}

    @classmethod
    def _of(cls, value: object) -> SpecPath:
        if isinstance(value, SpecPath):
            return value
        if isinstance(value, SpecText):
            return cls(str(value), value.folder)
        if isinstance(value, str):
            return cls(value)
        raise ValueError("should be a path in a string")


HUB_ID = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?")
ADDRESS = re.compile(r"\w[\w+.-]*://(?:(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+))?")
"""An address, and the hub id in one of the hub's."""


class Checkpoint(SpecPath):
    """Weights of a model: a hub id, `package:NAME`, or a path (starting with `.`, `/`, `~` or `${env:NAME}`)."""

    @property
    def is_path(self) -> bool:
        """A path of another shell or system counts as one too: `resolve` says what it is."""
        return re.match(r"[./~$%]|[A-Za-z]:[\\/]|[^/]*\\", self.text) is not None

    @property
    def is_hub_id(self) -> bool:
        """Whether it names a model on the hub."""
        return not self.is_path and not self.text.startswith("package:")

    def folder_meant(self) -> str:
        """A path that means the folder of this name, beside the spec or in the working folder; empty if none is."""
        if not self.is_hub_id:
            return ""
        if (self.folder / self.text).exists():
            return f"./{self.text}"
        return str(Path.cwd() / self.text) if Path(self.text).exists() else ""

    @classmethod
    def _of(cls, value: object) -> SpecPath:
        made = super()._of(value)
        if address := ADDRESS.match(made.text):
            fix = f"{address[1]} and a revision" if address[1] else "download it, and name that folder: ./FOLDER"
            raise ValueError(f"should not be a URL but {'a hub id: ' if address[1] else 'a path: '}{fix}")
        if cls(made.text).is_hub_id and not HUB_ID.fullmatch(made.text):
            raise ValueError("should be a hub id (AUTHOR/NAME), package:NAME, or a path that starts with ./, / or ~")
        return made


def _variable(match: re.Match[str]) -> str:
    name = match[1]
    if name not in os.environ:
        raise MissingError(f"the environment variable {name} is not set", fix=f"export {name}=FOLDER")
    return os.environ[name]


@dataclass(frozen=True)
class Choice(Generic[P, C]):
    """`{use: NAME, setting: ...}` or just `NAME`: a plugin of class P and what the user set for it, checked a C."""

    kind: ClassVar[str]
    use: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """As they were written; `config` has them checked."""

    @cached_property
    def plugin(self) -> type[P]:
        """The class that it names; a SpecError, MissingError or BenchError says why there is none."""
        from llmemb_bench.registry.entries import find

        return cast("type[P]", find(self.kind, self.use).load())  # a class of its kind's contract

    @cached_property
    def config(self) -> C:
        """The plugin's settings object, made once; pydantic's ValidationError says what is wrong with the settings."""
        return cast("C", self.plugin.config_type().model_validate(dict(self.settings)))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(cls._of, core_schema.is_instance_schema(cls))

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"x-plugin-kind": cls.kind}  # `llmemb-bench schema` puts the plugins in

    @classmethod
    def _of(cls, value: object) -> Choice[Any, Any]:
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls(str(value))
        if isinstance(value, Mapping) and isinstance(value.get("use"), str):
            return cls(str(value["use"]), {key: value[key] for key in value if key != "use"})
        raise ValueError(f"should name one of the {cls.kind}: {{use: NAME, ...}} or NAME")


Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""A seed that the store's 64 bits hold."""
Protocol = Annotated[
    str,
    Field(
        pattern=r"^(full|sampled-[1-9][0-9]{0,8})$",
        json_schema_extra={WORDS: "full or sampled-N (N items beside the target, for example sampled-100)"},
    ),
]
"""`full` ranks the whole catalogue, `sampled-N` N uniform items outside the user's events."""
