"""What a decoding process gives up before it hears of the first video: memory, files, programs and the network.

A clip that takes over its decoder has then little left to do harm with. Three measures, each as far as the system has
it (all of them on Linux, none elsewhere):

- limits of the process (`resource`): memory, no bytes written to files, few open files, no core file;
- Landlock, from Linux 5.13: no file is written, made, removed or run; from 6.7 no TCP; from 6.12 no signal to others;
- a filter of system calls (seccomp, on x86-64 and ARM64): no sockets at all, no programs, no hand on other processes.

None of them can be taken back, and all hold for what the process starts. The number of processes (RLIMIT_NPROC) is not
limited: Linux counts all of a user's, so a limit would depend on what else the user runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import struct
import sys
from pathlib import Path

OPEN_FILES = 64  # a decoder has 4 and its video; the rest is for modules that are imported late

# From <sys/prctl.h>, <linux/landlock.h>, <linux/seccomp.h>, <linux/audit.h> and <linux/bpf_common.h>. The calls of
# Landlock have the same numbers on every processor.
_PR_SET_NO_NEW_PRIVS = 38
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446
_LANDLOCK_CREATE_RULESET_VERSION = 1
_LANDLOCK_READING = 0b1100  # of files and of folders
_SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC = 1, 1
_SECCOMP_RET_ALLOW, _SECCOMP_RET_ERRNO = 0x7FFF0000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # instructions of the filter
_FOREIGN_CALLS = 0x40000000  # calls of the x32 interface, which x86-64 has beside its own

# The processor's number for audits, the number of seccomp, and those of the calls that are refused: socket, socketpair,
# execve, ptrace, process_vm_writev, execveat, io_uring_setup.
_PROCESSORS = {
    "x86_64": (0xC000003E, 317, (41, 53, 59, 101, 311, 322, 425)),
    "aarch64": (0xC00000B7, 277, (198, 199, 221, 117, 271, 281, 425)),
}


def confine(memory: int) -> None:
    """Give up what decoding does not need, for the rest of this process's life.

    ``memory`` bytes may be taken beyond what the process holds now, counted as they are asked for: so the limit holds
    at once, while a look from outside comes a moment later. Shared memory, which no decoder asks for, is not counted.
    """
    if sys.platform != "linux":
        return
    _limit(memory)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return
    _no_writing(libc)
    _no_calls(libc)


def measures() -> list[str]:
    """Which of the measures this system has: some of ``limits``, ``landlock`` and ``seccomp``."""
    if sys.platform != "linux":
        return []
    libc = ctypes.CDLL(None, use_errno=True)
    found = ["limits"]
    if _landlock_version(libc) > 0:
        found.append("landlock")
    # Asked to set a filter at no address, a kernel that knows how complains of the address.
    number = _PROCESSORS.get(platform.machine(), (0, 0, ()))[1]
    failed = number and _call(libc, number, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC, None) < 0
    if failed and ctypes.get_errno() == errno.EFAULT:
        found.append("seccomp")
    return found


def _limit(memory: int) -> None:
    """Set the limits of the process, none above one that is there already."""
    import resource  # not on every system

    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,  # pipes have no size: answers still go out
        resource.RLIMIT_NOFILE: OPEN_FILES,
        # Not the address space (RLIMIT_AS): libraries reserve several times what they use of it.
        resource.RLIMIT_DATA: _data_bytes() + memory,
    }
    for which, most in wanted.items():
        hard = resource.getrlimit(which)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(OSError, ValueError):  # a sandbox around all this may not let it
            resource.setrlimit(which, (most, most))


def _data_bytes() -> int:
    """Private writable memory of this process, as RLIMIT_DATA counts it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) << 10
    return 0


def _landlock_version(libc: ctypes.CDLL) -> int:
    return _call(libc, _LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_CREATE_RULESET_VERSION)


def _no_writing(libc: ctypes.CDLL) -> None:
    """Refuse every access to files but reading, and what else Landlock knows to refuse."""
    version = _landlock_version(libc)
    if version < 1:
        return
    kinds = 13 + (version >= 2) + (version >= 3) + (version >= 5)  # of access to files, a bit each
    files = (1 << kinds) - 1 & ~_LANDLOCK_READING
    tcp = 0b11 if version >= 4 else 0  # bind and connect
    others = 0b11 if version >= 6 else 0  # abstract sockets of processes outside, signals to them
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = struct.pack("=3Q", files, tcp, others)[:size]
    handle = _call(libc, _LANDLOCK_CREATE_RULESET, rules, size, 0)
    if handle >= 0:
        _call(libc, _LANDLOCK_RESTRICT_SELF, handle, 0)
        os.close(handle)


def _no_calls(libc: ctypes.CDLL) -> None:
    """Refuse the system calls of `_PROCESSORS` in all threads, with the error of somebody who lacks the right."""
    if platform.machine() not in _PROCESSORS or sys.maxsize < 1 << 32:
        return
    audit, seccomp, calls = _PROCESSORS[platform.machine()]
    tests = [(_AT_LEAST, _FOREIGN_CALLS), *((_EQUAL, number) for number in calls)]
    n = len(tests)
    # An instruction is its code, how many to skip where its test holds and where not, and a value.
    program = [
        (_LOAD, 0, 0, 4),  # the processor of the call
        (_EQUAL, 0, n + 2, audit),
        (_LOAD, 0, 0, 0),  # the number of the call
        *((test, n - index, 0, value) for index, (test, value) in enumerate(tests)),
        (_RETURN, 0, 0, _SECCOMP_RET_ALLOW),
        (_RETURN, 0, 0, _SECCOMP_RET_ERRNO | errno.EACCES),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    # Their count, and after a gap their address.
    told = struct.pack("@HP", len(program), ctypes.addressof(code))
    _call(libc, seccomp, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC, told)


def _call(libc: ctypes.CDLL, *words: int | bytes | None) -> int:
    """A system call: -1 if it fails."""
    return int(libc.syscall(*(ctypes.c_long(word) if isinstance(word, int) else word for word in words)))
