"""``python -m vidface``: the same as the ``vidface`` command."""

from __future__ import annotations

from vidface.cli import main

if __name__ == "__main__":
    main()
