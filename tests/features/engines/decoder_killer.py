"""A decoding process that opens a file of a certain name dies of it, every time."""

from __future__ import annotations

DEADLY = "deadly.mp4"
# Python runs a module of this name at its start, where it is on its path.
SITECUSTOMIZE = f"""
import os, signal, sys

def watch(event, arguments):
    if event == "open" and str(arguments[0]).endswith({DEADLY!r}):
        os.kill(os.getpid(), signal.SIGSEGV)

if "vidface.features.engines.decoder" in sys.orig_argv:
    sys.addaudithook(watch)
"""
