"""The options of a stage: one pydantic model per stage, whose fields say all that there is to say of an option, once.

From a field come the option of the command line (`vidface.commands.options`), the key of a recipe's table
(`vidface.runs.recipe`), what a file was made from and its attributes (the stages, by `vidface.files.stage_output`), and
a line of ``docs/options.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self, TypedDict, Unpack

from pydantic import BaseModel, Field

InFile = Literal["always", "unless default"]


class Options(BaseModel, extra="forbid"):
    """The base of all; a field is made by `option`."""

    def in_file(self) -> dict[str, Any]:
        """The values that decide what is in the file that is made, by attribute, in the order of the fields."""
        return {attribute: getattr(self, name) for attribute, name in _attributes(type(self)).items()}

    @classmethod
    def of_file(cls, attributes: Mapping[str, Any]) -> Self:
        """The options that decided what is in a file, as its attributes say them; the others are left out."""
        said = {**cls.where_absent(), **attributes}
        return cls.model_construct(
            **{name: said[attribute] for attribute, name in _attributes(cls).items() if attribute in said}
        )

    @classmethod
    def where_absent(cls) -> dict[str, Any]:
        """Attribute -> what a file was made with that does not have it."""
        return {
            attribute: cls.model_fields[name].default
            for attribute, name in _attributes(cls).items()
            if extra_of(cls, name)["in_file"] == "unless default"
        }

    @classmethod
    def written(cls, made_from: dict[str, Any]) -> dict[str, Any]:
        """What of ``made_from`` becomes an attribute; nothing that a file does not have to say."""
        absent = dict.fromkeys(made_from) | cls.where_absent()
        return {name: value for name, value in made_from.items() if value not in (None, absent[name])}


class Shown(TypedDict, total=False):
    """How the command line shows a field and reads it, and which values it may have; each may be left out.

    ``reads`` is a key of `vidface.commands.options.READERS`; ``flag`` its name, if it is another than the field's;
    ``choices`` all values, if its type does not list them; ``ge``, ``gt``, ``le`` its limits, as pydantic takes them.
    """

    metavar: str
    reads: str
    flag: str
    choices: Iterable[str]
    ge: float
    gt: float
    le: float


def option(
    default: Any,
    help: str | None,  # noqa: A002 - its name in click
    *,
    in_file: InFile | None = None,
    attribute: str | None = None,
    carried: bool = False,
    **shown: Unpack[Shown],
) -> Any:
    """A field of `Options`; its name, with dashes, is the option's.

    Args:
        default: ``...`` if it must be given; a function of the fields before it if it depends on them.
        help: for people.
        in_file: whether its value is an attribute of the file that is made, ``always``, or ``unless default``. What is
            added later must be of the second kind: files that are there already do not have it.
        attribute: its name there, if it is another.
        carried: it is also an attribute of the files that are made from that file.
        shown: see `Shown`.
    """
    limits: dict[str, Any] = {name: value for name, value in shown.items() if name in ("ge", "gt", "le")}
    extra: Any = {name: shown.get(name) for name in ("metavar", "reads", "flag")}
    extra |= {"in_file": in_file, "attribute": attribute, "carried": carried}
    extra["choices"] = tuple(shown["choices"]) if "choices" in shown else None
    limits["default_factory" if callable(default) else "default"] = default
    return Field(description=help, json_schema_extra=extra, **limits)


def extra_of(model: type[Options], name: str) -> dict[str, Any]:
    """What `option` was told of a field."""
    extra = model.model_fields[name].json_schema_extra
    assert isinstance(extra, dict), f"{name} was not made by option()"
    return extra


def in_order(first: Iterable[str], model: type[Options], *, carried: bool = False) -> tuple[str, ...]:
    """Attributes in their order, which is a part of a file's bytes: those in ``first``, then the model's others.

    With ``carried`` only those that later files have too.
    """
    names = [
        attribute
        for attribute, name in _attributes(model).items()
        if not carried or extra_of(model, name)["carried"]
    ]
    return tuple(dict.fromkeys((*first, *names)))


def _attributes(model: type[Options]) -> dict[str, str]:
    """Attribute -> field of those that stand in the file."""
    extras = {name: extra_of(model, name) for name in model.model_fields}
    return {extra["attribute"] or name: name for name, extra in extras.items() if extra["in_file"]}
