"""The command line: parse, call one stage, print. Heavy libraries are imported by the command that needs them.

Results go to stdout, progress and errors to stderr. Exit codes: 0 all was well, 1 there were faults (or an error in
the data), 2 wrong usage.
"""

from __future__ import annotations

import logging
import os
import sys

import click

import vidface
from vidface.commands.cluster import cluster
from vidface.commands.features import extract, features, merge
from vidface.commands.inspect import find_command, inspect_command
from vidface.commands.manifest import manifest
from vidface.commands.models import budget, export_command
from vidface.commands.report import compare, report
from vidface.commands.run import demo, doctor, run
from vidface.commands.score import score, submit, sweep
from vidface.commands.training import dataset, train, verify
from vidface.errors import VidfaceError, visible


def main() -> None:
    """Run the command line; whatever goes wrong on purpose is one line and an exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("vidface").setLevel(logging.INFO)  # ours alone: other libraries tell how they load
    try:
        sys.exit(cli(prog_name="vidface", standalone_mode=False) or 0)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except VidfaceError as error:
        click.echo(f"error: {visible(str(error))}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output went away, as `head` does: nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"error: {visible(f'{where}{error.strerror or error}')}", err=True)
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        click.echo(
            "stopped: extract, train and run go on from what is finished when they are called again", err=True
        )
        sys.exit(130)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(vidface.__version__, prog_name="vidface")
def cli() -> None:
    """Face recognition in video, from clips to a trusted score.

    manifest -> extract -> cluster -> score, sweep -> submit; every stop on the way is a file.
    """


for _command in (
    *(manifest, extract, features, merge, cluster, score, sweep, submit),
    *(run, demo, doctor, report, compare, inspect_command, find_command),
    *(dataset, train, verify, budget, export_command),
):
    cli.add_command(_command)
