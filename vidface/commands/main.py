"""The command line: parse, call one stage, print. Each command imports the heavy libraries that it needs.

Results go to stdout, progress and errors to stderr. Exit codes: 0 all was well, 1 there were faults (or an error in
the data), 2 wrong usage, 3 the Ray cluster was lost, 130 and 143 stopped by Ctrl-C and by SIGTERM.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click

import vidface
from vidface.commands.features import cluster, extract, features, merge
from vidface.commands.inspect import find_command, inspect_command
from vidface.commands.manifest import manifest
from vidface.commands.models import budget, export_command
from vidface.commands.output import print_json, stand_in_for_letters
from vidface.commands.report import compare, report
from vidface.commands.run import demo, doctor, run
from vidface.commands.score import score, submit, sweep
from vidface.commands.training import dataset, train, verify
from vidface.commands.watched import tell
from vidface.errors import ClusterError, VidfaceError, visible


def main() -> None:
    """Run the command line; whatever goes wrong on purpose is one line and an exit code."""
    stand_in_for_letters()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("vidface").setLevel(logging.INFO)  # ours alone: other libraries tell how they load
    status = _status()
    tell(status)
    sys.exit(status)


def _status() -> int:
    """Do what the command line says; the exit status."""
    try:
        with _sigterm_as_ctrl_c():
            return cli(prog_name="vidface", standalone_mode=False) or 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except VidfaceError as error:
        click.echo(f"error: {visible(str(error))}", err=True)
        if isinstance(error, ClusterError) and "--json" in sys.argv:
            print_json({"error": str(error)})
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output went away, as `head` does: nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except UnicodeEncodeError as error:  # of the name of a file, say: what is printed has stand-ins
        where = visible(error.object)[:200]
        of_locale = f"the locale ({error.encoding}) lacks some of its letters: set PYTHONUTF8=1"
        reason = "it is not UTF-8: rename it" if error.encoding == "utf-8" else of_locale
        click.echo(f"error: {where}: {reason}", err=True)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"error: {visible(f'{where}{error.strerror or error}')}", err=True)
        return 1
    except (KeyboardInterrupt, click.Abort) as stop:
        click.echo(
            "stopped: extract, train and run resume from what is finished when they are run again",
            err=True,
        )
        return 128 + (15 if isinstance(stop.__cause__ or stop, _TerminatedError) else 2)


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM has come, as from a scheduler whose time is up: what Ctrl-C puts in order is put in order."""


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Once: the second time it ends the process at once, whatever it is at."""
    # Only the main thread may set a handler, and one that the caller has set stays.
    on_main = threading.current_thread() is threading.main_thread()
    if not on_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        if multiprocessing.parent_process() is not None:  # of a library, which ends its processes so
            os.kill(os.getpid(), number)
        raise _TerminatedError

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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
