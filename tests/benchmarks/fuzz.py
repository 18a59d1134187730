"""Damaged, absurd and hostile image files through `predict`: none may stop it, or hold it up.

    python tests/benchmarks/fuzz.py [--files 10000] [--seed 0] [--output DIR]

Every file is made from its seed and its number alone: one of the encodings below, changed by one
of the mutations below, under a name that mostly fits. They go through `inspect_images`, all in this
process, with a model at 64 pixels. Counted are crashes (whatever is not an `InputError`), files
read and refused, seconds for each file, and the most memory held. Seconds are of the processor, in
the thread that reads (four of them do): a clock on the wall would measure what else the machine
does. Writes fuzz.json and fuzz.md; files that crash are kept in DIR/crashes. Not part of the test
run, but for 200 files (tests/test_fuzz.py).
"""

import argparse
import io
import struct
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from indad import PatchCore  # noqa: E402
from indad.data.files import write_json, write_text  # noqa: E402
from indad.deploy.inspection import inspect_images  # noqa: E402
from indad.engine import batches  # noqa: E402
from indad.engine.machine import environment, peak_memory_mb  # noqa: E402
from indad.errors import InputError  # noqa: E402

SECONDS, MEGABYTES = 2.0, 3000.0  # the bars: for a file, and for the process
ROUND = 500  # files on disk at a time
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def picture(size: tuple[int, int] = (96, 80)) -> np.ndarray:
    """A plaid with a little noise, `(h, w, 3)` uint8."""
    y, x = np.mgrid[:size[1], :size[0]]
    plaid = np.stack([x % 16 * 8, y % 16 * 8, (x + y) % 32 * 4], axis=2) + 40
    return (plaid + np.random.default_rng(0).integers(0, 8, plaid.shape)).astype(np.uint8)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


@lru_cache(maxsize=1)
def encodings() -> dict[str, tuple[str, bytes]]:
    """Name -> usual suffix and bytes of one small picture."""
    rgb = Image.fromarray(picture())
    grey, wide = rgb.convert("L"), np.asarray(rgb.convert("L"), np.uint16) * 257
    alpha = rgb.copy()
    alpha.putalpha(grey)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"
    thumbnail = rgb.resize((20, 16))
    return {
        "png": (".png", encoded(rgb, "PNG")),
        "png, alpha": (".png", encoded(alpha, "PNG")),
        "png, palette": (".png", encoded(rgb.quantize(32), "PNG", transparency=3)),
        "png, 16 bits": (".png", encoded(Image.fromarray(wide), "PNG")),
        "png, animated": (".png", encoded(rgb, "PNG", save_all=True, append_images=[alpha])),
        "jpeg": (".jpg", encoded(rgb, "JPEG", exif=exif, icc_profile=b"no profile" * 9)),
        "jpeg, progressive": (".jpg", encoded(rgb, "JPEG", progressive=True)),
        "jpeg, CMYK": (".jpg", encoded(rgb.convert("CMYK"), "JPEG")),
        "mpo": (".jpg", encoded(rgb, "MPO", save_all=True, append_images=[thumbnail])),
        "bmp": (".bmp", encoded(rgb, "BMP")),
        "bmp, palette": (".bmp", encoded(rgb.quantize(16), "BMP")),
        "tiff": (".tif", encoded(rgb, "TIFF", exif=exif)),
        "tiff, LZW": (".tif", encoded(rgb, "TIFF", compression="tiff_lzw")),
        "tiff, deflate": (".tif", encoded(alpha, "TIFF", compression="tiff_deflate")),
        "tiff, JPEG": (".tiff", encoded(rgb, "TIFF", compression="jpeg")),
        "tiff, fax": (".tif", encoded(rgb.convert("1"), "TIFF", compression="group4")),
        "tiff, 16 bits": (".tif", encoded(Image.fromarray(wide), "TIFF")),
        "tiff, float": (".tif", encoded(Image.fromarray(wide / np.float32(65535)), "TIFF")),
        "webp": (".webp", encoded(rgb, "WEBP", exif=exif)),
        "webp, lossless": (".webp", encoded(alpha, "WEBP", lossless=True)),
        "webp, animated": (".webp", encoded(rgb, "WEBP", save_all=True, append_images=[alpha])),
        "gif": (".png", encoded(rgb, "GIF", transparency=2)),
        "gif, animated": (".png", encoded(rgb, "GIF", save_all=True, append_images=[grey])),
    }


def flipped(data: bytes, random: np.random.Generator) -> bytes:
    """Up to 32 bits turned, in half of the cases near the beginning."""
    changed = bytearray(data)
    reach = len(data) if random.random() < 0.5 else min(len(data), 200)
    for place in random.integers(0, reach, 2 ** random.integers(0, 6)):
        changed[place] ^= 1 << int(random.integers(8))
    return bytes(changed)


def overwritten(data: bytes, random: np.random.Generator) -> bytes:
    """A stretch of bytes replaced by others: random, zeros or ones."""
    start, length = int(random.integers(len(data))), int(random.integers(1, 64))
    fill = (random.bytes(length), bytes(length), b"\xff" * length)[random.integers(3)]
    return data[:start] + fill + data[start + length:]


def truncated(data: bytes, random: np.random.Generator) -> bytes:
    return data[:random.integers(len(data))]


def appended(data: bytes, random: np.random.Generator) -> bytes:
    """Something behind the end: noise, or another picture."""
    others = list(encodings().values())
    return data + (random.bytes(int(random.integers(1, 5000))) if random.random() < 0.5
                   else others[random.integers(len(others))][1])


def spliced(data: bytes, random: np.random.Generator) -> bytes:
    """The beginning of one file and the end of another."""
    other = list(encodings().values())[random.integers(len(encodings()))][1]
    return data[:random.integers(len(data))] + other[random.integers(len(other)):]


def repeated(data: bytes, random: np.random.Generator) -> bytes:
    """A stretch of the file written up to 200 times."""
    start, length = int(random.integers(len(data))), int(random.integers(1, 400))
    return data[:start] + data[start:start + length] * int(random.integers(2, 200)) + data[start:]


def resized(data: bytes, random: np.random.Generator) -> bytes:
    """Another size in the header than in the data: zero, a bit more, huge or negative."""
    width, height = (int(size) for size in random.choice(
        [0, 1, 95, 97, 640, 5000, 20000, 65535, 2 ** 20, 2 ** 31 - 1, 2 ** 32 - 1], 2))
    changed = bytearray(data)
    if data[:4] == b"\x89PNG":
        changed[16:24] = struct.pack(">II", width, height)
        changed[29:33] = struct.pack(">I", zlib.crc32(changed[12:29]))
    elif data[:2] == b"BM":
        changed[18:26] = struct.pack("<II", width, height)
    elif data[:3] == b"GIF":
        changed[6:10] = struct.pack("<HH", width & 0xffff, height & 0xffff)
    elif data[:2] == b"\xff\xd8":
        for marker in (b"\xff\xc0", b"\xff\xc2"):
            place = data.find(marker)
            if place > 0:
                changed[place + 5:place + 9] = struct.pack(">HH", height & 0xffff, width & 0xffff)
    elif data[:2] == b"II":
        table = struct.unpack_from("<I", data, 4)[0]
        for entry in range(struct.unpack_from("<H", data, table)[0]):
            place = table + 2 + 12 * entry
            tag, _, count = struct.unpack_from("<HHI", data, place)
            if tag in (256, 257):
                changed[place + 2:place + 12] = struct.pack(
                    "<HII", 4, count, width if tag == 256 else height)
    elif data[8:16] == b"WEBPVP8X":
        changed[24:30] = struct.pack("<I", width & 0xffffff)[:3] + struct.pack(
            "<I", height & 0xffffff)[:3]
    else:  # WebP without that: 14 bits each, somewhere after the chunk's name
        changed[20:30] = random.bytes(10)
    return bytes(changed)


def emptied(data: bytes, random: np.random.Generator) -> bytes:
    """Nothing, noise, text, or the beginning of something else that pictures are packed in."""
    others = (b"", random.bytes(int(random.integers(1, 3000))), b"hello\n", b"PK\3\4" + data,
              b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", b"%PDF-1.4\n" + data,
              b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"P6 96 80 255\n" + data, bytes(3000),
              b"\0\0\1\0\1\0" + data, b"8BPS\0\1" + data, b"\0\0\0\x18ftypheic" + data)
    return others[random.integers(len(others))]


def unchanged(data: bytes, random: np.random.Generator) -> bytes:
    return data


MUTATIONS: dict[str, tuple[int, Callable]] = {  # and how often, in parts
    "bits flipped": (30, flipped), "bytes overwritten": (15, overwritten),
    "truncated": (15, truncated), "appended to": (6, appended), "spliced": (8, spliced),
    "a part repeated": (6, repeated), "another size in the header": (14, resized),
    "not a picture": (4, emptied), "unchanged": (2, unchanged)}
BOMBS_PER_10000 = 40


# Pillow's names: format, suffix, mode, sides in pixels, options. Up to 7,000 they are still read.
BOMBS = [(format, suffix, mode, side, options) for format, suffix, modes, options in (
    ("PNG", ".png", ("RGB", "RGBA", "I;16", "1"), {}),
    ("TIFF", ".tif", ("RGB", "RGBA", "I;16", "1"), {"compression": "tiff_deflate"}),
    ("JPEG", ".jpg", ("RGB", "L"), {"progressive": True}),
    ("WEBP", ".webp", ("RGB", "RGBA"), {"method": 0}),
    ("WEBP", ".webp", ("RGBA",), {"method": 0, "lossless": True}),
    ("GIF", ".png", ("L",), {})) for mode in modes for side in (4000, 7000, 12000)]


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    return (struct.pack(">I", len(content)) + kind + content
            + struct.pack(">I", zlib.crc32(kind + content)))


@cache
def bomb(number: int) -> tuple[str, str, bytes]:
    """A small file that unpacks to a lot: pixels, text, or work."""
    if number < len(BOMBS):
        format, suffix, mode, side, options = BOMBS[number]
        return (f"{format} {mode} {options or ''} {side} px", suffix,
                encoded(Image.new(mode, (side, side)), format, **options))
    whole, progressive = encodings()["png"][1], encodings()["jpeg, progressive"][1]
    zeros, last = zlib.compress(bytes(100_000_000), 9), progressive.rfind(b"\xff\xda")
    huge = struct.pack(">II", 2 ** 31 - 1, 2 ** 31 - 1) + whole[24:29]
    return [("PNG, 100 MB of text", ".png",
             whole[:33] + chunk(b"zTXt", b"a\0\0" + zeros) + whole[33:]),
            ("PNG, 100 MB of colour profile", ".png",
             whole[:33] + chunk(b"iCCP", b"a\0\0" + zeros) + whole[33:]),
            ("PNG, 2^62 pixels", ".png", whole[:8] + chunk(b"IHDR", huge) + whole[33:]),
            ("PNG, a strip", ".png", encoded(Image.new("L", (49_000_000, 1)), "PNG")),
            ("JPEG, 5,000 scans", ".jpg",
             progressive[:last] + progressive[last:-2] * 5000 + b"\xff\xd9")][number - len(BOMBS)]


def make(seed: int, number: int, with_bombs: bool = True) -> tuple[str, str, bytes]:
    """File `number`: what was done to what, the suffix of its name, and its bytes."""
    random = np.random.default_rng([seed, number])
    if with_bombs and random.random() < BOMBS_PER_10000 / 10_000:
        name, suffix, data = bomb(int(random.integers(len(BOMBS) + 5)))
        return f"bomb: {name}", suffix, data
    names = list(encodings())
    name = names[random.integers(len(names))]
    suffix, data = encodings()[name]
    parts = np.array([weight for weight, _ in MUTATIONS.values()])
    what = list(MUTATIONS)[random.choice(len(parts), p=parts / parts.sum())]
    data = MUTATIONS[what][1](data, random)
    if random.random() < 0.1:
        suffix = SUFFIXES[random.integers(len(SUFFIXES))]
    return f"{what}: {name}", suffix, data


@dataclass
class Watch:
    """Takes the time of every file that is read, and turns crashes into findings."""

    seconds: dict[str, float] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    crashes: list[dict] = field(default_factory=list)

    def wrap(self, read: Callable) -> Callable:
        def watched(reader: batches.ImageReader, index: int) -> tuple:
            if not isinstance(reader.sources[index], Path):  # for an explanation, read already
                return read(reader, index)
            name, began = reader.sources[index].name, time.thread_time()
            try:
                found = read(reader, index)
            except Exception as error:
                self.crashes.append({"file": name, "error": traceback.format_exc(limit=-3)})
                found = index, f"{type(error).__name__}: {error}", None
            self.seconds[name] = time.thread_time() - began
            if found[2] is not None:
                self.read.add(name)
            return found

        return watched


def fuzz(files: int, seed: int, keep: Path | None = None, *, with_bombs: bool = True,
         tell: Callable[[int], None] = lambda done: None) -> dict:
    """Make the files, run them through `predict`, and report."""
    model = PatchCore(resize=64, coreset_ratio=0.5, device="cpu").fit(
        [picture((96 + i, 80)) for i in range(6)])
    watch, kinds, refused = Watch(), {}, 0
    original, began = batches.ImageReader.read, time.perf_counter()
    batches.ImageReader.read = watch.wrap(original)
    try:
        for first in range(0, files, ROUND):
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place) / "in"
                folder.mkdir()
                for number in range(first, min(first + ROUND, files)):
                    kind, suffix, data = make(seed, number, with_bombs)
                    kinds[f"{number:06d}{suffix}"] = kind
                    (folder / f"{number:06d}{suffix}").write_bytes(data)
                names = sorted(file.name for file in folder.iterdir())
                try:
                    record = inspect_images(model, [folder], Path(place) / "out").record
                    refused += record["counts"]["unreadable"]
                    if record["counts"]["images"] != len(names):
                        raise AssertionError(f"{len(names)} files, but {record['counts']}")
                except InputError:
                    refused += len(names)  # not one could be read
                except Exception:
                    watch.crashes.append({"file": f"{names[0]} to {names[-1]}",
                                          "error": traceback.format_exc(limit=-3)})
                for crash in watch.crashes:
                    if keep and (folder / crash["file"]).is_file():
                        keep.mkdir(parents=True, exist_ok=True)
                        (keep / crash["file"]).write_bytes((folder / crash["file"]).read_bytes())
            tell(min(first + ROUND, files))
    finally:
        batches.ImageReader.read = original
    seconds = np.array([watch.seconds.get(name, 0) for name in kinds])
    slowest = max(kinds, key=lambda name: watch.seconds.get(name, 0))
    by_kind = {}
    for what in sorted({kind.partition(":")[0] for kind in kinds.values()}):
        own = [name for name, kind in kinds.items() if kind.startswith(f"{what}:")]
        by_kind[what] = {"files": len(own), "read": len(watch.read & set(own)),
                         "slowest_s": max(watch.seconds.get(name, 0) for name in own)}
    return {"files": files, "seed": seed, "read": len(watch.read), "refused": refused,
            "crashes": [{**crash, "kind": kinds.get(crash["file"], "")}
                        for crash in watch.crashes],
            "slowest": {"file": slowest, "kind": kinds[slowest], "seconds": float(seconds.max())},
            "median_s": float(np.median(seconds)), "p999_s": float(np.quantile(seconds, 0.999)),
            "peak_memory_mb": peak_memory_mb(), "seconds": time.perf_counter() - began,
            "by_kind": by_kind, "bars": {"seconds": SECONDS, "megabytes": MEGABYTES,
                                         "crashes": 0},
            "environment": environment(model.device_)}


def markdown(found: dict) -> str:
    rows = [("crashes", str(len(found["crashes"])), "0"),
            ("slowest file", f"{found['slowest']['seconds']:.2f} s ({found['slowest']['kind']})",
             f"{SECONDS:g} s"),
            ("peak memory of the process", f"{found['peak_memory_mb']:.0f} MB",
             f"{MEGABYTES:.0f} MB")]
    lines = [f"{found['files']:,} files (seed {found['seed']}) in {found['seconds']:.0f} s: "
             f"{found['read']:,} read, {found['refused']:,} refused; median "
             f"{1000 * found['median_s']:.1f} ms of the processor to read a file, 99.9 % below "
             f"{found['p999_s']:.2f} s.", "",
             "| | measured | bar |", "|---|---|---|",
             *(f"| {what} | {value} | {bar} |" for what, value, bar in rows), "",
             "| what was done | files | read | slowest |", "|---|---|---|---|",
             *(f"| {what} | {row['files']:,} | {row['read']:,} | {row['slowest_s']:.2f} s |"
               for what, row in found["by_kind"].items())]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("results/reference/benchmarks"))
    options = parser.parse_args()
    found = fuzz(options.files, options.seed, options.output / "crashes",
                 tell=lambda done: print(f"{done} files", file=sys.stderr))
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / "fuzz.json", found)
    write_text(options.output / "fuzz.md", markdown(found))
    print(markdown(found))
    for crash in found["crashes"][:20]:
        print(crash["file"], crash["kind"], crash["error"], sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
