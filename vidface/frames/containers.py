"""Which container a file is, told from its first bytes alone.

FFmpeg guesses a file's type from its content and name, and some of the types it may arrive at (``concat``,
playlists, image lists) open other files or hosts. So the guess is made here, from a short list of containers
that hold their own data, and FFmpeg is then told which demuxer to use.
"""

from __future__ import annotations

from pathlib import Path

from vidface.errors import MediaError
from vidface.files.pointers import NOT_FETCHED, pointer_in

HEAD_BYTES = 2048

# Atoms that begin an mp4 or QuickTime file. The atom's length comes before its name.
MOV_ATOMS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof")

MAGIC = (
    (b"\x1a\x45\xdf\xa3", "matroska"),  # EBML: Matroska, WebM
    (b"\x00\x00\x01\xba", "mpeg"),  # MPEG program stream, pack header
    (b"\x00\x00\x01\xb3", "mpegvideo"),  # MPEG-1/2 elementary stream, sequence header
    (b"FLV\x01", "flv"),
    (b"OggS", "ogg"),
    (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "asf"),  # ASF header object
)

# Brands of HEIF files whose main part is a still picture, and other pictures that are met.
HEIF = {"mif1": "HEIF", "mif2": "HEIF", "avif": "AVIF"} | dict.fromkeys(
    ("heic", "heix", "heim", "heis"), "HEIC"
)
PICTURES = (
    *((b"GIF8", "GIF"), (b"BM", "BMP"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF")),
    *((b"\0\0\0\x0cjP  ", "JPEG 2000"), (b"\xff\x4f\xff\x51", "JPEG 2000")),
    *((b"\0\0\0\x0cJXL ", "JPEG XL"), (b"\xff\x0a", "JPEG XL")),
)

# These are read, but only by their names.
READ = ((b"\xff\xd8\xff", "JPEG", ".jpg"), (b"\x89PNG", "PNG", ".png"))

KNOWN = "mp4/mov, mkv/webm, avi, mpeg, ts/m2ts, flv, ogg, asf/wmv"


def container_of(head: bytes, file_size: int) -> str | None:
    """FFmpeg's name of the demuxer for a file of these first ``HEAD_BYTES`` and this size in bytes; None: not ours."""
    for magic, demuxer in MAGIC:
        if head.startswith(magic):
            return demuxer
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[4:8] in MOV_ATOMS and _is_atom_length(head, file_size):
        return "mov"
    # Transport stream packets are 188 bytes and begin with 0x47; m2ts puts 4 bytes of time before each.
    for first, step in ((0, 188), (4, 192)):
        starts = head[first::step]
        if file_size >= step and len(starts) > 0 and all(byte == 0x47 for byte in starts):
            return "mpegts"
    return None


def picture_kind(head: bytes) -> str | None:
    """What still picture it is, in words, from its first 16 bytes; None for JPEG, PNG and what is no picture."""
    if head[4:8] == b"ftyp":
        kind = HEIF.get(head[8:12].decode("latin-1"))
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        kind = "WebP"
    else:
        kind = next((kind for magic, kind in PICTURES if head.startswith(magic)), None)
    return kind and f"a picture in the {kind} format: convert it to JPEG or PNG"


def _is_atom_length(head: bytes, file_size: int) -> bool:
    """Whether the first atom's length can be true: in a text that reads "free" there, it is absurd."""
    length = int.from_bytes(head[:4], "big")
    if head[4:8] == b"mdat":
        # 0 means up to the end, 1 that a 64-bit length follows; a file cut short has less than it says,
        # so any length will do whose first byte is no text (below a tab).
        return length in (0, 1) or (length >= 8 and head[0] < 9)
    return 8 <= length <= file_size


def demuxer_for(path: Path) -> str:
    """Look at the file's first bytes and name the demuxer that FFmpeg must use.

    Raises:
        MediaError: ``missing``, ``unreadable``, ``empty-file``, ``not-fetched`` or ``not-a-video``.
    """
    try:
        if not path.is_file():
            kind = "not-a-video" if path.exists() else "missing"
            what = "not a regular file" if path.exists() else "no such file or folder"
            raise MediaError(kind, f"{path}: {what}")
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise MediaError("unreadable", f"{path}: cannot be read: {error.strerror or error}") from error
    if not head:
        raise MediaError("empty-file", f"{path}: the file is empty")
    if advice := pointer_in(head):
        raise MediaError(NOT_FETCHED, f"{path}: {advice}")
    demuxer = container_of(head, size)
    if demuxer is None:
        still = picture_kind(head)
        for magic, kind, suffix in READ:
            if head.startswith(magic):
                still = f"a {kind} picture: let its name end in {suffix}"
        said = f"it is {still}" if still else f"its first bytes are of none of the known containers ({KNOWN})"
        raise MediaError("not-a-video", f"{path}: {said}")
    return demuxer
