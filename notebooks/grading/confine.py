"""What a process may still do after it has confined itself, on Linux and without privileges.

Limits of the system hold for time, memory, the size of a file and the number of open ones. A filter
of system calls (seccomp) refuses sockets, new processes, programs, signals, and changes of files'
owners and modes; threads are allowed. Rules for files (Landlock) leave what Python needs to be
read, and one folder to be written. Capabilities are given up. All of it holds for good, and for
every thread. The numbers are those of the kernel's headers (asm/unistd.h, linux/landlock.h).
"""

import ctypes
import os
import platform
import resource
import struct
from collections.abc import Iterable
from pathlib import Path

# Calls that are refused: by name, their numbers on x86-64 and on 64-bit ARM (-1: not there).
REFUSED = {
    "socket": (41, 198), "fork": (57, -1), "vfork": (58, -1), "execve": (59, 221),
    "execveat": (322, 281), "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438), "setpriority": (141, 140),
    "io_uring_setup": (425, 425), "bpf": (321, 280), "userfaultfd": (323, 282),
    "perf_event_open": (298, 241), "unshare": (272, 97), "setns": (308, 268),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "memfd_create": (319, 279), "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190),
    "mq_open": (240, 180), "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53),
    "fchmodat2": (452, 452), "chown": (92, -1), "fchown": (93, 55), "lchown": (94, -1),
    "fchownat": (260, 54), "utime": (132, -1), "utimes": (235, -1), "futimesat": (261, -1),
    "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16)}
ONLY = {"clone": ((56, 220), 0x10000, True),  # CLONE_THREAD: a thread, not a process
        "prlimit64": ((302, 261), 0xFFFFFFFF, False)}  # of this process, which is called 0
CLONE3, CAPSET = (435, 435), (126, 91)
LANDLOCK = (444, 445, 446)  # create a ruleset, add a rule, restrict itself
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
EPERM, ENOSYS = 1, 38
READ, WRITE = 0b1101, 0b111111111110010  # rights of Landlock up to truncating, its third version
FILES_ONLY = 0b100000000000110  # rights that a rule for a file may name: write, read, truncate
READABLE = ("/usr", "/lib", "/lib64", "/dev/null", "/dev/zero", "/dev/urandom", "/proc/self",
            "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu", "/etc/localtime")

libc = ctypes.CDLL(None, use_errno=True)


def lacking() -> list[str]:
    """What this machine cannot keep an answer from, in words; none on a recent Linux."""
    found = []
    if platform.machine() not in MACHINES or not Path("/proc/sys/kernel/seccomp").is_dir():
        found.append("the network, other processes")
    if libc.syscall(LANDLOCK[0], None, 0, 1) < 1:
        found.append("files")
    return found


def limit(*, seconds: int, memory: int, file_size: int) -> None:
    """Limits that a process cannot lift again; `memory` in bytes, beyond what it holds now."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for what, most in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, held + memory),
                       (resource.RLIMIT_FSIZE, file_size), (resource.RLIMIT_NOFILE, 64),
                       (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(what, (most, most))


def shut_in(writable: Path, readable: Iterable[Path]) -> None:
    """Refuse all files but these, sockets, processes and signals, from now on."""
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS, without which the others are not to be had
    _give_up_capabilities()
    _landlock(writable, readable)
    _filter()


def _machine() -> tuple[int, int] | None:
    return MACHINES.get(platform.machine())


def _give_up_capabilities() -> None:
    if machine := _machine():
        head = struct.pack("Ii", 0x20080522, 0)  # the third version; this process
        libc.syscall(CAPSET[machine[0]], head, struct.pack("6I", *[0] * 6))


def _landlock(writable: Path, readable: Iterable[Path]) -> None:
    version = libc.syscall(LANDLOCK[0], None, 0, 1)
    if version < 1:
        return
    handled = (1 << (13 if version == 1 else 14 if version == 2 else 15)) - 1
    rules = libc.syscall(LANDLOCK[0], struct.pack("Q", handled), 8, 0)
    places = [*((Path(one), READ) for one in (*READABLE, *readable)), (writable, READ | WRITE),
              (Path("/dev/null"), READ | WRITE)]
    for place, rights in places:
        try:
            opened = os.open(place, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # not on this machine
        if not place.is_dir():
            rights &= FILES_ONLY | 1
        libc.syscall(LANDLOCK[1], rules, 1, struct.pack("=Qi", rights & handled, opened), 0)
        os.close(opened)
    if libc.syscall(LANDLOCK[2], rules, 0):
        raise OSError(ctypes.get_errno(), "files could not be confined")
    os.close(rules)


def _filter() -> None:
    """Berkeley's packet filter over the number of a call, its machine and first argument."""
    if not (machine := _machine()):
        return
    place, architecture = machine
    load, jump, larger, bits, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, kill = 0x7FFF0000, 0x80000000

    def refuse(number: int) -> int:
        return 0x50000 | number

    steps = [(load, 0, 0, 4), (jump, 1, 0, architecture), (answer, 0, 0, kill), (load, 0, 0, 0),
             (larger, 0, 1, 0x40000000), (answer, 0, 0, refuse(ENOSYS))]  # another set of numbers
    for numbers, error in (*((one, EPERM) for one in REFUSED.values()), (CLONE3, ENOSYS)):
        if numbers[place] >= 0:
            steps += [(jump, 0, 1, numbers[place]), (answer, 0, 0, refuse(error))]
    for numbers, mask, needed in ONLY.values():
        good, bad = (answer, 0, 0, allow), (answer, 0, 0, refuse(EPERM))
        steps += [(jump, 0, 4, numbers[place]), (load, 0, 0, 16), (bits, 0, 1, mask),
                  *((good, bad) if needed else (bad, good))]
    steps.append((answer, 0, 0, allow))
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    described = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(program))
    if libc.prctl(22, 2, described, 0, 0):  # PR_SET_SECCOMP, by a filter
        raise OSError(ctypes.get_errno(), "calls could not be confined")
