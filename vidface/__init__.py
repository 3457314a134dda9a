"""vidface: the open evaluation bench for face recognition in video, from clips to a trusted score."""

import contextlib
import os
from pathlib import Path

__version__ = "0.1.0"

# onnxruntime keeps a device number in the home folder and can send usage data: not from here. Read when it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def _may_write(folder: Path) -> bool:
    """Whether a folder can be written, or made in the one above it that is there."""
    # Not Path's: it fails where a folder above may not be looked into.
    there = next(place for place in (folder, *folder.absolute().parents) if os.path.exists(place))  # noqa: PTH110
    return os.access(there, os.W_OK | os.X_OK) and there.is_dir()


def _keep_compiled_functions() -> None:
    """Give numba, which keeps what it compiled beside the source or at home, a folder of this process.

    That folder is new and nobody else's: what is found in it is run. Compiling takes some seconds then, every time.
    """
    import atexit
    import shutil
    import tempfile

    folder = tempfile.mkdtemp(prefix="vidface-compiled-")
    os.environ["NUMBA_CACHE_DIR"] = folder
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


if "NUMBA_CACHE_DIR" not in os.environ:
    # Not Path's: it fails where nobody has a home.
    _home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    if not any(map(_may_write, (Path(__file__).parent / "__pycache__", Path(_home) / "numba"))):
        with contextlib.suppress(OSError):
            _keep_compiled_functions()
