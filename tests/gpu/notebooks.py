"""All notebooks from their sources on this machine's device; -> seconds of each.

    python tests/gpu/notebooks.py [NUMBER ...]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from notebooks import build  # noqa: E402
from notebooks.course import LESSONS  # noqa: E402


def main() -> int:
    failed = 0
    for lesson in LESSONS:
        if sys.argv[1:] and lesson.number not in sys.argv[1:]:
            continue
        try:
            taken = f"{build.run(build.assemble(lesson, build.read_times())):6.1f} s"
        except Exception as error:  # whatever a cell raised; the next lesson may run
            taken, failed = f"FAILED: {str(error)[-1500:]}", failed + 1
        print(f"{lesson.number} {lesson.title:<60}{taken}", flush=True)
    return min(failed, 1)


if __name__ == "__main__":
    raise SystemExit(main())
