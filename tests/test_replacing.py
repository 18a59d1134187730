"""What is written is whole at every moment: killed at any step, read and written by many."""

import errno
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from indad.data import locks, replacing
from indad.data.files import (
    check_replaceable,
    clear_interrupted,
    complete_file,
    complete_folder,
    partial_folder,
    write_text,
)
from indad.data.locks import locked
from indad.data.replacing import read_whole
from indad.errors import InputError

ONLY_POSIX = pytest.mark.skipif(os.name == "nt", reason="forks")
FILES = ("a", "b")
EVENTS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "open")


@pytest.fixture(params=["exchanged", "renamed aside"])
def way(request, monkeypatch):
    """Both ways to replace a folder; the second is for systems that cannot exchange."""
    if request.param == "renamed aside":
        monkeypatch.setattr(replacing, "_renameat2", lambda: None)
    elif not sys.platform.startswith("linux"):
        pytest.skip("Linux only")
    return request.param


def write(folder: Path, word: str) -> None:
    with complete_folder(folder) as partial:
        for name in FILES:
            (partial / name).write_text(word)


def content(folder: Path) -> str:
    """What both files say; raises `InputError` for half a folder."""
    words = {(folder / name).read_text() for name in FILES if (folder / name).exists()}
    if len(words) != 1 or len(list(folder.iterdir())) != len(FILES):
        raise InputError(f"{folder}: half of something")
    return words.pop()


def killed_at(step: int, work) -> bool:
    """Do `work` in a process that dies before its step of that number; False if it came through."""
    if not (child := os.fork()):
        left = [step]

        def count(event, arguments):
            if event in EVENTS and left:
                left[0] -= 1
                if left[0] < 0:
                    os._exit(9)

        sys.addaudithook(count)
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9)
    return status == 9


def in_a_small_process(work, *arguments):
    """Here, each fork would copy the tables of all that torch and the other tests hold."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0  # what went wrong it has said


@ONLY_POSIX
@pytest.mark.slow
@pytest.mark.parametrize("before", ["nothing there", "an older one"])
def test_killed_at_every_step_a_whole_folder_is_left(tmp_path, way, before):
    in_a_small_process(folder_killed_at_every_step, tmp_path / "here", way, before)


def folder_killed_at_every_step(tmp_path, way, before):
    if way == "renamed aside":
        replacing._renameat2 = lambda: None
    tmp_path.mkdir()
    place, killed, seen = tmp_path / "model", True, set()
    step = 0
    while killed:
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        if before == "an older one":
            write(place, "old")
        killed = killed_at(step, lambda: write(place, "new"))
        if before == "an older one" or not killed or place.exists():
            seen.add(read_whole(place, content))
        step += 1
        write(place, "next")  # and the next writer is not in its way, and tidies up
        assert read_whole(place, content) == "next"
        assert [file.name for file in tmp_path.iterdir()] == ["model"]
    assert step > 10
    assert seen == ({"old", "new"} if before == "an older one" else {"new"})


@ONLY_POSIX
@pytest.mark.slow
def test_killed_at_every_step_a_whole_file_is_left(tmp_path):
    in_a_small_process(file_killed_at_every_step, tmp_path)


def file_killed_at_every_step(tmp_path):
    place, killed, seen, step = tmp_path / "report.html", True, set(), 0
    while killed:
        write_text(place, "old")
        killed = killed_at(step, lambda: write_text(place, "new"))
        seen.add(place.read_text())
        step += 1
        write_text(place, "next")
        assert place.read_text() == "next"
        assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert seen == {"old", "new"}


@pytest.mark.parametrize("call", ["os.fsync", "os.rename", "replacing._exchange", "os.unlink",
                                  "os.rmdir", "os.open"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"),
                                   KeyboardInterrupt()], ids=["full disk", "Ctrl-C"])
def test_an_error_at_every_step_leaves_a_whole_folder(tmp_path, way, monkeypatch, call, error):
    """The n-th call of each function fails, for every n that comes to be called."""
    owner = replacing if call.startswith("replacing") else os
    name, place, number, failed = call.rpartition(".")[2], tmp_path / "model", 0, True
    original = getattr(owner, name)
    while failed:
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        write(place, "old")
        failed, left = False, [number]

        def fails(*arguments, left=left, **options):
            nonlocal failed
            left[0] -= 1
            if left[0] == -1:
                failed = True
                raise error
            return original(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fails)
            try:
                write(place, "new")
                raised = False
            except (OSError, KeyboardInterrupt):
                raised = True
        assert read_whole(place, content) in (("old", "new") if raised else ("new",)), number
        if raised and call in ("os.fsync", "os.rename", "replacing._exchange"):
            assert {file.name for file in tmp_path.iterdir()} == {"model"}
        number += 1
        write(place, "next")
        assert [file.name for file in tmp_path.iterdir()] == ["model"]


def _write_many(folder: Path, word: str, times: int) -> None:
    for number in range(times):
        write(folder, f"{word} {number}")


@pytest.mark.parametrize("times", [12])
def test_readers_and_writers_at_once(tmp_path, way, times):
    """Two writers and two readers: every read finds a whole folder, and no write fails."""
    place = tmp_path / "model"
    write(place, "first 0")
    errors, reads = [], []

    def attempt(work, *arguments):
        try:
            work(*arguments)
        except BaseException as error:
            errors.append(error)

    def read():
        while any(writer.is_alive() for writer in writers):
            reads.append(read_whole(place, content))

    writers = [threading.Thread(target=attempt, args=(_write_many, place, word, times))
               for word in ("one", "two")]
    readers = [threading.Thread(target=attempt, args=(read,)) for _ in range(2)]
    for thread in (*writers, *readers):
        thread.start()
    for thread in (*writers, *readers):
        thread.join()
    assert errors == []
    assert len(reads) > 2
    assert content(place) in (f"one {times - 1}", f"two {times - 1}")
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_a_reader_sees_one_folder_even_if_it_was_replaced_between_two_files(tmp_path):
    write(tmp_path / "model", "old")
    words = []

    def read(folder):
        first = (folder / "a").read_text()
        if not words:
            write(folder, "new")
        words.append((first, (folder / "b").read_text()))
        return words[-1]

    assert read_whole(tmp_path / "model", read) == ("new", "new")
    assert words[0] == ("old", "new")  # which was not handed out


def test_a_folder_that_is_really_damaged_is_read_once(tmp_path):
    calls = []

    def read(folder):
        calls.append(folder)
        raise InputError("damaged")

    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match="damaged"):
            read_whole(place, read)
    assert calls == [tmp_path, tmp_path / "missing"]


def test_a_folder_that_is_aside_whenever_one_looks(tmp_path, monkeypatch):
    """It is away when it is opened and when the reader has failed, and back in between."""
    place, aside = tmp_path / "model", tmp_path / ".model.0a1b2c3d.old"
    write(place, "old")
    calls, identity = [], replacing._identity

    def away_at_first(folder):
        calls.append(folder)
        return None if len(calls) <= 2 else identity(folder)

    def read(folder):
        if len(calls) < 2:
            os.rename(place, aside)
            raise InputError("half of something")
        return content(folder)

    monkeypatch.setattr(replacing, "_identity", away_at_first)
    assert read_whole(place, read) == "old"


def test_what_was_put_aside_by_a_killed_writer_is_read_and_put_back(tmp_path):
    write(tmp_path / "model", "old")
    os.rename(tmp_path / "model", tmp_path / ".model.0a1b2c3d.old")
    assert read_whole(tmp_path / "model", content) == "old"
    assert clear_interrupted(tmp_path / "model") == []
    assert content(tmp_path / "model") == "old"


def test_the_work_of_the_living_is_not_cleared_away(tmp_path):
    """Of this place, and of others whose names begin alike."""
    with complete_folder(tmp_path / "a") as partial:
        assert clear_interrupted(tmp_path / "a") == []
        assert partial.is_dir()
        (partial / "x").write_text("x")
    with partial_folder(tmp_path / "a.b") as other, partial_folder(tmp_path / "[a]") as odd:
        assert clear_interrupted(tmp_path / "a") == []
        with complete_folder(tmp_path / "a"):
            pass
        assert other.is_dir()
        assert clear_interrupted(tmp_path / "[a]") == [odd]  # nobody has the turn there
        assert not odd.exists()


def test_the_litter_of_the_dead_goes_files_too(tmp_path):
    (tmp_path / ".a.onnx.0a1b2c3d.partial").write_text("half")
    (tmp_path / ".a.onnx.lock").touch()
    assert [file.name for file in clear_interrupted(tmp_path / "a.onnx")] == [
        ".a.onnx.0a1b2c3d.partial"]
    (tmp_path / ".a.onnx.0a1b2c3d.partial").write_text("half")
    with complete_file(tmp_path / "a.onnx") as partial:
        partial.write_text("whole")
    assert [file.name for file in tmp_path.iterdir()] == ["a.onnx"]


HOLD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from indad.data.locks import locked
with locked(Path(sys.argv[1])):
    print("mine", flush=True)
    sys.stdin.read()
"""


def test_a_lock_ends_with_its_process_and_waiting_with_a_line(tmp_path, monkeypatch):
    place = tmp_path / "model"
    root = str(Path(replacing.__file__).parents[2])
    with subprocess.Popen([sys.executable, "-c", HOLD, str(place), root], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "mine\n"
        monkeypatch.setattr(locks, "PATIENCE", 0.0)
        with pytest.raises(InputError, match="another process is writing there.*wait until"):
            write(place, "new")
        monkeypatch.setattr(locks, "PATIENCE", 60.0)
        monkeypatch.setattr(locks, "NOTICE", 0.0)
        monkeypatch.setattr(locks.time, "sleep", lambda seconds: holder.kill())
        with pytest.warns(UserWarning, match="waiting for another process"):
            write(place, "new")
    assert content(place) == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_a_lock_whose_file_was_removed_meanwhile_is_no_lock(tmp_path, monkeypatch):
    """Between opening the file and locking it, its owner may have ended and removed it."""
    original, taken = locks._try_lock, []

    def late(descriptor):
        if not taken:
            (tmp_path / ".model.lock").unlink()
        taken.append(original(descriptor))
        return taken[-1]

    monkeypatch.setattr(locks, "_try_lock", late)
    monkeypatch.setattr(locks.time, "sleep", lambda seconds: None)
    with locked(tmp_path / "model"):
        assert (tmp_path / ".model.lock").exists()
    assert taken == [True, True]


def test_disks_without_locks_go_without(tmp_path, monkeypatch):
    if os.name == "nt":
        pytest.skip("another function there")
    import fcntl

    def refuse(descriptor, how):
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    write(tmp_path / "model", "new")
    assert content(tmp_path / "model") == "new"


def test_a_link_is_followed_and_stays(tmp_path):
    write(tmp_path / "v3", "old")
    (tmp_path / "current").symlink_to("v3")
    write(tmp_path / "current", "new")
    assert (tmp_path / "current").is_symlink()
    assert content(tmp_path / "v3") == "new"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["current", "v3"]


def test_a_file_is_never_replaced_by_a_folder(tmp_path):
    (tmp_path / "model").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        write(tmp_path / "model", "new")
    assert (tmp_path / "model").read_text() == "mine"
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_the_folder_one_stands_in_and_a_mounted_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("."), "new")
    assert content(tmp_path) == "new"
    monkeypatch.setattr(os.path, "ismount", lambda path: True)
    with pytest.raises(InputError, match="a disk is mounted there.*give a folder in it"):
        check_replaceable(tmp_path, set(FILES), "results", "choose another")


def test_the_older_folder_goes_only_when_the_newer_is_on_the_disk(tmp_path, way, monkeypatch):
    write(tmp_path / "model", "old")
    order = []
    fsync, rmtree = os.fsync, shutil.rmtree
    monkeypatch.setattr(os, "fsync", lambda descriptor: order.append("fsync") or fsync(descriptor))
    monkeypatch.setattr(shutil, "rmtree", lambda *a, **o: order.append("rmtree") or rmtree(*a, **o))
    write(tmp_path / "model", "new")
    # Two files and their folder before the exchange, the folder around them after it.
    assert order[:5] == ["fsync"] * 4 + ["rmtree"]
