"""``python -m vidface``: the same as the ``vidface`` command."""

from __future__ import annotations

from vidface.commands.main import main

if __name__ == "__main__":
    main()
