"""Where the media of a manifest lie: under its root and nowhere else, whatever links say."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from vidface.manifest.names import composed, folded
from vidface.manifest.rows import Problem, show


def find_media(listed: Iterable[tuple[int, str]], root: Path) -> tuple[list[Problem], dict[str, str]]:
    """Look for media under a root, by line and path; a path that is there in the other Unicode form alone is found.

    The paths are relative and lead nowhere else by their text.

    Returns:
        What is missing, listed twice, or outside the root by way of a symbolic link; and path as written -> as it is
        on the disk, if these differ.
    """
    problems: list[Problem] = []
    places: dict[str, str] = {}
    disk = _Disk(root)
    seen: dict[str, tuple[int, str]] = {}  # path -> the first line that has it, and how it is written there
    for line, path in listed:
        first, hint = seen.setdefault(path, (line, path)), ""
        inside, status = disk.look(path) if first[0] == line else (None, None)
        if first[0] == line and inside is not False and status is None:
            place, hint = disk.other_form(path)
            if place:
                inside, status = disk.look(place)
                places[path] = place
                first = seen.setdefault(place, (line, path))
        if first[0] != line:
            form = "" if first[1] == path else f" as {first[1]!a}, in another Unicode form"
            message = f"path {show(path)} is already in line {first[0]}{form}"
            problems.append(Problem(line, "duplicate-path", message))
        elif inside is False:
            message = (
                f"path {show(path)} leaves the root through a symbolic link; move the media under the root, or "
                "name the folder that they lie in with --root"
            )
            problems.append(Problem(line, "outside-root", message))
        elif status is None:
            what = disk.denied(path) or "no file or folder"
            problems.append(Problem(line, "missing-file", f"{what} {show(path)} under {root}{hint}"))
        elif not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            problems.append(Problem(line, "missing-file", f"{show(path)} is neither a file nor a folder"))
    return problems, places


class _Disk:
    """What is known of the folders under a root."""

    def __init__(self, root: Path) -> None:
        self._home = os.path.realpath(root)
        self._inside: dict[str, bool | None] = {}  # folder as rows have it -> under the root; None: not there
        self._names: dict[str, dict[str, list[str]]] = {}  # folder -> folded name -> names

    def look(self, path: str) -> tuple[bool | None, os.stat_result | None]:
        """Whether a path is under the root, None if its folder is not there; and what it is, links followed."""
        # With a final slash the folder is the path itself: lstat would follow a link there.
        inside = self._is_folder_inside(path.rpartition("/")[0])
        status = _status(f"{self._home}/{path}") if inside else None
        if status and stat.S_ISLNK(status.st_mode):
            inside = self._is_inside(f"{self._home}/{path}")
            status = _status(os.path.realpath(f"{self._home}/{path}")) if inside else None
        return inside, status

    def denied(self, path: str) -> str:
        """What keeps a path from being looked at, if it is more than that nothing is there."""
        try:
            os.stat(f"{self._home}/{path}")  # noqa: PTH116 - as all of this class
        except PermissionError:
            return "no permission to look at"
        except (OSError, ValueError):
            pass
        return ""

    def other_form(self, path: str) -> tuple[str, str]:
        """The only path that is this one but for its Unicode form, or nothing; and what else a person should see."""
        found = [""]
        parts = [part for part in path.split("/") if part not in ("", ".")]
        for part in parts:
            found = [
                f"{folder}/{name}".removeprefix("/")
                for folder in found[:8]
                for name in self._alike(folder, part)
            ]
        same = [place for place in found if composed(place) == composed("/".join(parts))]
        if len(same) == 1:
            return same[0], ""
        if same:
            return "", f"; {len(same)} differ from it by Unicode form alone: {same[0]!a} and {same[1]!a}"
        return "", f"; there is {found[0]!a}, which differs by case or Unicode form" if found else ""

    def _alike(self, folder: str, part: str) -> list[str]:
        """The names in a folder that a part of a path may mean; that very name if it is among them."""
        if folder not in self._names:
            self._names[folder] = {}
            for name in self._list(folder):
                self._names[folder].setdefault(folded(name), []).append(name)
        names = self._names[folder].get(folded(part), [])
        return [part] if part in names else names

    def _list(self, folder: str) -> list[str]:
        try:
            return sorted(os.listdir(f"{self._home}/{folder}")) if self._is_folder_inside(folder) else []  # noqa: PTH208
        except OSError:
            return []

    def _is_folder_inside(self, folder: str) -> bool | None:
        if folder not in self._inside:
            self._inside[folder] = self._is_inside(f"{self._home}/{folder}")
        return self._inside[folder]

    def _is_inside(self, place: str) -> bool | None:
        """Tell whether a place really lies under the root, all links followed; None if nothing is there."""
        real = os.path.realpath(place)
        if not (real + "/").startswith(self._home.rstrip("/") + "/"):
            return False
        return True if _status(real) else None


def _status(place: str) -> os.stat_result | None:
    try:
        return os.lstat(place)
    except OSError:
        return None
