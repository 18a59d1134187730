"""Judges answers that nobody trusts: `python -m notebooks.grading.referee`, which `grade` starts.

Three kinds of process, all forked from this one, which has imported what checks need. Each
submission has a *judge*, which reads the notebook. Each of its exercises has a *player*, confined,
which runs the answer and its check, and sends its verdict with all that the answer returned. Of the
verdict "right" nothing is believed: the judge checks what was returned once more, where no answer
has ever run. So a forged "passed" has to come with the right values.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from . import confine, wire
from .submission import LARGEST, Answer, NotANotebook, read

MOST_SENT = 64_000_000  # bytes of what an answer returns
MOST_WRITTEN = 100_000_000  # bytes in its folder, and a tenth of that in a file
MOST_FILES = 10_000
SLACK = 30  # seconds for the judge beside those of the answers
PASSED, OPEN, WRONG, STOPPED = "passed", "open", "wrong", "stopped"


def judge_submission(job: dict) -> Iterator[tuple[str, str, str]]:
    """Number, result and reason of each exercise of a notebook's lessons.

    First comes "student" with the name that is in the notebook, last comes "end".
    """
    file = Path(job["file"])
    try:
        if file.is_symlink() or not file.is_file():
            raise NotANotebook("a link or no plain file")
        if file.stat().st_size > LARGEST:
            raise NotANotebook(f"larger than {LARGEST // 1_000_000} MB")
        submission = read(file.read_text(encoding="utf-8"))
    except (NotANotebook, OSError, UnicodeError, RecursionError, MemoryError) as error:
        yield "", STOPPED, str(error) if isinstance(error, NotANotebook) else "cannot be read"
        yield "end", "", ""
        return
    yield "student", "", submission.student
    lessons = [lesson for lesson in submission.lessons if lesson in job["numbers"]]
    if not lessons:
        yield "", STOPPED, "no exercise of the course is in it"
    for number in (number for lesson in lessons for number in job["numbers"][lesson]):
        if number in submission.answers:
            yield number, *judge_answer(number, submission.answers[number], job)
        elif number in submission.broken:
            yield number, WRONG, submission.broken[number]
        else:
            yield number, OPEN, "its check is not in the notebook"
    yield "end", "", ""


def judge_answer(number: str, answer: Answer, job: dict) -> tuple[str, str]:
    """The result of an exercise, and why."""
    folder = Path(tempfile.mkdtemp(dir=job["folder"]))
    try:
        message, trouble = play(lambda send: _player(number, answer, send), folder, job)
    finally:
        subprocess.run(["rm", "-rf", "--", str(folder)], stderr=subprocess.DEVNULL)
    if trouble:
        return STOPPED, trouble
    try:
        said = wire.decode(message)
        result, reason, values = said["result"], str(said["reason"]), said["values"]
    except (ValueError, TypeError, KeyError):
        return STOPPED, "what came out of its process is no answer"
    if result != PASSED:
        return (result if result in (OPEN, WRONG) else STOPPED), reason
    return again(number, said, values, job["seconds"])


def again(number: str, said: dict, values: list, seconds: int) -> tuple[str, str]:
    """Check once more, in this process, what an answer is said to have returned."""
    from .. import checks

    def late(*_: object) -> NoReturn:
        raise TimeoutError

    coming = iter(values)

    def returned(**_: object) -> object:
        return wire.decode(next(coming))

    signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        outcome = checks.judge(number, returned if said["calls"] else wire.decode(values[0]))
    except (Exception, TimeoutError) as error:  # a hostile value may do this
        return STOPPED, f"its values stopped the check ({type(error).__name__})"
    finally:
        signal.alarm(0)
    if outcome.passed:
        return PASSED, ""
    return WRONG, f"its own process said that it passed, but {_reason(outcome.message)}"


def play(action: Callable, folder: Path, job: dict) -> tuple[bytes, str]:
    """Run `action(send)` in a confined process; -> what it sent, or else why it was stopped."""
    reading, writing = os.pipe()
    player = os.fork()
    if not player:
        try:
            _enter(writing, folder, job)
            action(lambda message: _write_all(writing, message))
        finally:
            os._exit(0)
    os.close(writing)
    sent, trouble, deadline = bytearray(), "", time.monotonic() + job["seconds"]
    while not trouble:
        ready, _, _ = select.select([reading], [], [], 0.1)
        part = os.read(reading, 1 << 20) if ready else b""
        sent += part
        if ready and not part:
            break
        if time.monotonic() > deadline:
            trouble = f"it took longer than {job['seconds']} s"
        elif len(sent) > MOST_SENT:
            trouble = f"it returned more than {MOST_SENT // 1_000_000} MB"
        elif not ready and _too_full(folder):
            trouble = f"it wrote more than {MOST_WRITTEN // 1_000_000} MB, or too many files"
    os.close(reading)
    with suppress(ProcessLookupError):  # it is a child that was not waited for: its id is its own
        os.kill(player, signal.SIGKILL)
    status = os.waitpid(player, 0)[1]
    if not trouble and not sent:
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
            trouble = f"it took longer than {job['seconds']} s"
        else:
            trouble = ("it ended its process without an answer" if os.WIFEXITED(status) or
                       os.WTERMSIG(status) == signal.SIGKILL else
                       f"its process ended by {signal.Signals(os.WTERMSIG(status)).name}")
    return bytes(sent), trouble


def _enter(writing: int, folder: Path, job: dict) -> None:
    """Become a player: nothing of the judge's is open, and what can be forbidden is."""
    confine.libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: ends with the judge
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    os.closerange(3, writing)
    os.closerange(writing + 1, 4096)
    os.environ.clear()
    os.environ.update(HOME=str(folder), TMPDIR=str(folder), INDAD_DATASETS=str(folder / "datasets"),
                      PATH="/usr/bin:/bin", OMP_NUM_THREADS="1", MPLBACKEND="agg",
                      INDAD_STATIC="1", HF_HUB_OFFLINE="1")
    tempfile.tempdir = str(folder)
    os.chdir(folder)
    root = Path(__file__).resolve().parents[2]
    prefixes = {Path(place).resolve() for place in (sys.prefix, sys.base_prefix, *sys.path)
                if place and Path(place).resolve() not in (root, *root.parents)}
    confine.limit(seconds=job["seconds"] + 1, memory=job["memory"], file_size=MOST_WRITTEN // 10)
    confine.shut_in(folder, [*prefixes, root / "indad", root / "notebooks/checks"])


def _player(number: str, answer: Answer, send: Callable[[bytes], None]) -> None:
    """In the confined process: run what the answer needs, check it, and tell."""
    from .. import checks

    values: list[bytes] = []
    told: dict[str, Any] = {"result": WRONG, "reason": "", "values": values, "calls": False}
    try:
        value, raised = _evaluate(answer)
        if raised is not None:
            raise raised
        told["calls"] = callable(value)

        def watched(**arguments: object) -> object:
            try:
                returned = value(**arguments)  # type: ignore[operator]
            except BaseException as error:
                told["trouble"] = _forbidden(error)
                raise
            values.append(wire.encode(returned))
            return returned

        if not callable(value):
            values.append(wire.encode(value))
        outcome = checks.judge(number, watched if callable(value) else value)
        told["result"] = {True: PASSED, None: OPEN, False: WRONG}[outcome.passed]
        told["reason"] = "" if outcome.passed is not False else _reason(outcome.message)
    except wire.Unsendable as error:
        told["reason"] = str(error)
    except BaseException as error:
        told["reason"] = f"it raised {type(error).__name__}: {error}"
        told["trouble"] = _forbidden(error)
    if told.pop("trouble", ""):
        told["result"] = STOPPED
    if told["result"] != PASSED:
        values.clear()
    told["reason"] = told["reason"][:500]
    send(wire.encode(told))


def _evaluate(answer: Answer) -> tuple[object, BaseException | None]:
    """The answer; a statement that fails stops none after it, as in a notebook."""
    import ast

    space: dict[str, Any] = {"__name__": "__main__"}
    first: BaseException | None = None
    for node in answer.needed:
        try:
            exec(compile(ast.Module([node], []), "<notebook>", "exec"), space)
        except Exception as error:
            first = first or error
    try:
        return eval(compile(ast.Expression(answer.answer), "<notebook>", "eval"), space), None
    except Exception as error:
        return None, first or error


def _forbidden(error: BaseException | None) -> bool:
    """Was it stopped, rather than wrong: out of memory, out of bounds, or gone on purpose?"""
    seen = 0
    while error is not None and seen < 20:
        if (isinstance(error, (MemoryError, PermissionError, BlockingIOError))
                or not isinstance(error, Exception) or "alloc" in str(error)[:300]
                or "Operation not permitted" in str(error)):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False


def _reason(message: str) -> str:
    """The line of a check's message that says what is wrong, and in which case."""
    lines = [line.strip() for line in message.splitlines()]
    return "; ".join([lines[0].partition(": ")[2],
                      *(line for line in lines[1:] if line.startswith("in the case"))])


def _write_all(writing: int, message: bytes) -> None:
    view = memoryview(message)
    while view:
        view = view[os.write(writing, view):]


def _too_full(folder: Path) -> bool:
    size = count = 0
    todo = [str(folder)]
    while todo:
        with suppress(OSError), os.scandir(todo.pop()) as entries:
            for entry in entries:
                count += 1
                size += entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                if size > MOST_WRITTEN or count > MOST_FILES:
                    return True
    return False


def supervise(job: dict) -> list:
    """Judge a submission in a process of its own; -> the rows that it got to."""
    reading, writing = os.pipe()
    judge = os.fork()
    if not judge:
        try:
            confine.libc.prctl(1, signal.SIGKILL, 0, 0, 0)
            os.close(reading)
            for row in judge_submission(job):
                _write_all(writing, json.dumps(row).encode() + b"\n")
        finally:
            os._exit(0)
    os.close(writing)
    most = SLACK + 2 * (job["seconds"] + 1) * sum(map(len, job["numbers"].values()))
    text, deadline = b"", time.monotonic() + most
    while time.monotonic() < deadline:
        if select.select([reading], [], [], 1.0)[0]:
            part = os.read(reading, 1 << 16)
            if not part:
                break
            text += part
    os.close(reading)
    _end_all()
    return [json.loads(line) for line in text.splitlines() if line.endswith(b"]")]


def _end_all() -> None:
    """Kill and wait for whatever this process, which is its descendants' reaper, has left."""
    while left := Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        for child in left:
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(int(left[0]), 0)


def main() -> None:
    """Answer each job, a line of JSON, by a line of JSON."""
    import torch

    import indad

    from ..course import LESSONS

    torch.set_num_threads(1)
    confine.libc.prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    for lesson in LESSONS:
        import_module(f"notebooks.checks.lesson_{lesson.number}")
    indad.PatchCore  # noqa: B018  imported now, and not once for each answer
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(supervise(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
