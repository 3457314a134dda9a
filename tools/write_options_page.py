"""Write docs/options.md, the options of the stages, from the models that also make the command line.

.venv/bin/python tools/write_options_page.py docs/options.md
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import click

from vidface.commands.options import click_option
from vidface.embeddings.options import ClusterOptions, RecipeClusterOptions
from vidface.features.options import EngineOptions, ExtractOptions, RecipeExtractOptions
from vidface.files.options import Options, extra_of
from vidface.scores.options import RecipeScoreOptions, ScoreOptions, SweepOptions
from vidface.scores.protocols.table import TABLE

# Heading, the model, the table of a recipe with the fields that it takes, the file that is made.
SECTIONS: tuple[tuple[str, type[Options], str, type[Options], str], ...] = (
    ("vidface extract", ExtractOptions, "extract", RecipeExtractOptions, "features"),
    ("vidface cluster", ClusterOptions, "cluster", RecipeClusterOptions, "embeddings"),
    ("vidface extract, cluster, sweep", EngineOptions, "engine", EngineOptions, "-"),
    ("vidface score", ScoreOptions, "score", RecipeScoreOptions, "-"),
    ("vidface sweep", SweepOptions, "sweep", SweepOptions, "-"),
)
# Their names in an option's help: the page need not change with each that is added.
PROTOCOLS = re.compile(r" \((?:{0})(?:, (?:{0}))*\)".format("|".join(TABLE)))
HEAD = ("option", "values", "default", "recipe", "in the file", "meaning")
INTRODUCTION = """# Options of the stages

`tools/write_options_page.py` writes this page from the models in `vidface/features/options.py`,
`vidface/embeddings/options.py` and `vidface/scores/options.py`. The command line, the tables of a recipe and the
attributes of the files come from the same models. [protocols/README.md](protocols/README.md) says which protocol uses
which option. `vidface sweep` also takes the options of `[score]`, and `--pool` and `--workers` of `cluster`.

In a recipe a flag is `true` or `false`, and `targets` a list of texts, `["1e-3", "1e-4"]`. Above its tables stand
`manifest`, `output` (a folder), `root` (if the manifest's paths start elsewhere than beside it) and, in place of
`[extract]`, `features`; `[submit] formats` is a list of `iqiyi` and `lfrc`. Paths start at the recipe.
`pipelines/` has whole recipes.

The column "in the file" names the attribute in which the output records an option. If the output already exists and
was made with another value, it is refused; with `--overwrite` it is replaced, once the new one is whole.
A * marks an option that is recorded only if it is not the default, a + one that the embeddings record as well. The
model with its card, and the detector's weights, are recorded by SHA-256. The other options do not change what the file
holds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("page", type=Path, help="docs/options.md")
    parser.parse_args().page.write_text(page(), encoding="utf-8")


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for heading, model, table, in_recipes, kind in SECTIONS:
        made = "" if kind == "-" else f" ({kind} file)"
        rows = [HEAD, tuple("---" for _ in HEAD)]
        rows += [row(model, name, table, in_recipes) for name in model.model_fields]
        parts.append(f"## `{heading}`{made}\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in rows))
    return "\n\n".join(parts) + "\n"


def row(model: type[Options], name: str, table: str, in_recipes: type[Options]) -> tuple[str, ...]:
    """The cells of one option."""
    field, extra = model.model_fields[name], extra_of(model, name)
    option = click_option(model, name)
    marks = "*" * (extra["in_file"] == "unless default") + "+" * extra["carried"]
    return (
        ", ".join(f"`{name}`" for name in (*option.opts[:1], *option.secondary_opts)),
        "a [protocol](protocols/README.md)" if extra["choices"] else values(option),
        default(option),
        f"`[{table}] {name}`" if name in in_recipes.model_fields else "",
        f"`{extra['attribute'] or name}`{marks}" if extra["in_file"] else "",
        PROTOCOLS.sub("", field.description or ""),
    )


def default(option: click.Option) -> str:
    """What holds where nothing is said."""
    if option.required:
        return "required"
    if not option.show_default:
        return ""
    return f"`{option.opts[0]}`" if option.is_flag else f"`{option.default}`"


def values(option: click.Option) -> str:
    """What may be said."""
    if option.is_flag:
        return "flag"
    if isinstance(option.type, click.Choice):
        return ", ".join(f"`{choice}`" for choice in option.type.choices)
    if isinstance(option.type, click.IntRange | click.FloatRange):
        kind, limits = option.type, []
        if kind.min is not None:
            limits.append(f"{'above' if kind.min_open else 'from'} {kind.min}")
        if kind.max is not None:
            limits.append(f"to {kind.max}")
        return f"{'integer' if isinstance(kind, click.IntRange) else 'number'}, {' '.join(limits)}"
    return option.metavar or ("file" if isinstance(option.type, click.Path) else "text")


if __name__ == "__main__":
    main()
