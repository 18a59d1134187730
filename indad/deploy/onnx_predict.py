"""Score photos with an exported model: numpy, Pillow and onnxruntime are all it needs.

    python onnx_predict.py bolts.onnx photo.jpg another.jpg

Copy this file beside the model, or take it as an example. Photos of every kind come out as in
indad: from `open_photo` on, this is data/pixels.py to the letter.
"""

import base64
import io
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

# What Pillow may take a file for: its other decoders are seldom used, and one of them (EPS) hands
# the file to another program.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
MOST_PIXELS = 8192 ** 2  # decoding takes up to 16 bytes a pixel for a moment, and two seconds
ORIENTATION = 0x0112  # EXIF's number for how a camera was held; 1 is upright
WIDE = re.compile(r"(?<!a);16([BLN])\b")  # so Pillow calls 16 bits a channel; it keeps 8 of them
OTHER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def main(model: str, *photos: str) -> None:
    """Print a line for each photo: verdict, score, and where the map is highest, in its frame; or
    why it cannot be read."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["indad"])
    if about["preprocessing"].get("align"):
        sys.exit("this model was fitted with align, and takes photos that indad has aligned; ask "
                 "`python -m indad predict` instead, or export a model without align")
    for name in photos:
        try:
            with open_photo(name) as photo:
                if photo.width * photo.height > MOST_PIXELS:
                    raise ValueError(f"{photo.width} x {photo.height} pixels are too many")
                more = pages_left_out(photo)
                pixels = prepare(photo, about["preprocessing"])
                frames = cut(pixels, about["preprocessing"], looked_at(photo, about))
        except Exception as error:  # there is hardly a type that no decoder raises
            print(f"{name}: cannot be read ({' '.join(str(error).split())})")
            continue
        worst: tuple = ()
        for top, left, pixels, inside in frames:  # the worst tile decides
            if about.get("pixels") == "float32":
                pixels = pixels.astype(np.float32) / 255
            (score,), (heat,), (defective,) = session.run(["score", "map", "verdict"],
                                                          {"image": pixels[None]} | inside)
            if not worst or score > worst[0]:
                y, x = divmod(int(heat.argmax()), heat.shape[1])
                worst = score, defective, top + y, left + x
        score, defective, y, x = worst
        print(f"{name}: {'defective' if defective else 'good'}, score {score:.6f} "
              f"(limit {about['threshold']:.6f}), highest at row {y}, column {x}"
              + (f"; it {more}" if more else ""))


def prepare(photo: Image.Image, preprocessing: dict) -> np.ndarray:
    """Any photo -> `(h, w, 3)` uint8 as the model takes it: upright, RGB, without what lies outside
    a region, resized, cropped."""
    photo = upright_rgb(photo, preprocessing.get("levels", {}))
    if region := preprocessing.get("region"):
        width, height = photo.size
        if region["aspect"] and abs(width / height / region["aspect"] - 1) > 0.02:
            raise ValueError(f"{width} x {height} pixels have not the shape of the region's mask")
        outside = mask_in(region["seen"]).resize(photo.size, Image.Resampling.NEAREST)
        photo = photo.copy()
        photo.paste(tuple(region["fill"]), mask=outside.point(lambda value: 255 - value))
    return np.asarray(fitted(photo, photo.size, preprocessing, Image.Resampling.BILINEAR))


def looked_at(photo: Image.Image, about: dict) -> np.ndarray | None:
    """`(h, w)` bool: which of these pixels are in the region; None if the model has none."""
    if not (region := about["preprocessing"].get("region")):
        return None
    turned = photo.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
    size = photo.size[::-1] if turned else photo.size
    return np.asarray(fitted(mask_in(region["inside"]), size, about["preprocessing"],
                             Image.Resampling.BOX)) > 0


def mask_in(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)), formats=["PNG"]).convert("L")


def fitted(picture: Image.Image, size: tuple[int, int], preprocessing: dict,
           filter: Image.Resampling) -> Image.Image:
    """A photo, or a mask over a photo of this size (width, height), resized and cropped."""
    resize, crop = preprocessing["resize"], preprocessing["crop"]
    if preprocessing.get("tiles"):  # see cut
        height, width = (max(round(side * preprocessing["scale"]), 1) for side in size[::-1])
    elif isinstance(resize, list):
        height, width = resize
    elif crop is None:
        height = width = resize
    else:  # the shortest side
        height, width = (resize * side // min(size) for side in size[::-1])
    picture = picture.resize((width, height), filter)
    if crop is not None:
        left, top = round((width - crop) / 2), round((height - crop) / 2)
        picture = picture.crop((left, top, left + crop, top + crop))
    return picture


def cut(pixels: np.ndarray, preprocessing: dict,
        inside: np.ndarray | None = None) -> list[tuple[int, int, np.ndarray, dict]]:
    """What the model looks at, with its place (top, left), and what else goes in: all at once, or
    tile by tile, of which those without any of the region are left out."""
    def frame(top: int, left: int, down: int, across: int) -> tuple[int, int, np.ndarray, dict]:
        here = np.s_[top:top + down, left:left + across]
        return top, left, pixels[here], {} if inside is None else {"inside": inside[here][None]}

    tile, (height, width, _) = preprocessing.get("tiles"), pixels.shape
    if not tile:
        return [frame(0, 0, height, width)]
    if min(width, height) < tile:
        raise ValueError(f"{width} x {height} pixels are less than a tile of {tile}")
    found = [frame(top, left, tile, tile)
             for top in tile_starts(height, tile, preprocessing["overlap"])
             for left in tile_starts(width, tile, preprocessing["overlap"])]
    return [one for one in found if inside is None or one[3]["inside"].any()]


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """First pixels of the tiles along one side of a photo: as few as cover it, evenly spread."""
    more = -(-(length - tile) // (tile - overlap))  # tiles after the first
    return [round(i * (length - tile) / more) for i in range(more + 1)] if more else [0]


def open_photo(file: str | Path) -> Image.Image:
    """The picture in a file, not yet decoded."""
    Image.init()
    return Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])


def pages_left_out(photo: Image.Image) -> str | None:
    """What is to be said of a file of several pages or frames, of which one is read."""
    try:
        pages = 1 if photo.format == "MPO" else getattr(photo, "n_frames", 1)
    except Exception:  # the later ones are damaged
        return "holds more pages, which are damaged; only the first is read"
    if pages == 1:  # and a phone's MPO is one photo, with a preview of it
        return None
    which = "first" if photo.tell() == 0 else f"number {photo.tell() + 1}"
    return f"holds {pages} pages or frames; only the {which} is read"


def upright_rgb(photo: Image.Image, levels: Mapping) -> Image.Image:
    """Any Pillow picture, upright and in RGB, without losing what a person sees in it.

    Pixels of more than 8 bits are scaled by `levels` (Pillow clips them to white), palettes are
    looked up, and transparent pixels, whose colour is arbitrary, are laid over white. A picture
    that is all this already comes back as it is: a copy takes as long as to decode a JPEG.
    """
    return rgb_of(*deep_numbers(photo), levels)


def rgb_of(numbers: np.ndarray | None, photo: Image.Image, levels: Mapping) -> Image.Image:
    """The same of what `deep_numbers` gives."""
    if numbers is not None:
        mode = photo.mode if numbers.ndim == 3 else "L"
        photo = Image.frombytes(mode, photo.size, eight_bits(numbers, levels).tobytes())
    if photo.mode == "La":
        photo = photo.convert("LA")
    if photo.mode in ("RGBA", "RGBa", "LA", "PA") or "transparency" in photo.info:
        photo = photo.convert("RGBA")
        photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo)
    return photo if photo.mode == "RGB" else photo.convert("RGB")


def deep_numbers(photo: Image.Image) -> tuple[np.ndarray | None, Image.Image]:
    """The numbers of a photo of more than 8 bits, `(h, w)` or `(h, w, c)`, else None; the photo,
    upright."""
    if not is_deep(photo):
        return None, _upright(photo)
    taken = _taken_for_another(photo)
    low = _low_bytes(photo) if photo.mode[0] not in "IFL" else None
    photo = _upright(photo)
    numbers = np.asarray(photo)
    if low is not None:
        return numbers.astype(np.uint16) << 8 | low, photo
    return (numbers.view(taken) if taken else numbers), photo


def is_deep(photo: Image.Image) -> bool:
    """Does it hold other numbers than 0 to 255? Of a file, this is known before it is decoded."""
    return photo.mode[0] in "IF" or _taken_for_another(photo) is not None or any(
        WIDE.search(str(tile[3])) for tile in getattr(photo, "tile", ()))


def _taken_for_another(photo: Image.Image) -> type | None:
    """Of a TIFF, the type of numbers that Pillow reads as signed, or unsigned, by mistake."""
    tags = getattr(photo, "tag_v2", {})
    if photo.mode == "L" and tags.get(339) == (2,):
        return np.int8
    if photo.mode == "I" and tags.get(258) == (32,) and tags.get(339, (1,)) == (1,):
        return np.uint32
    return None


def eight_bits(numbers: np.ndarray, levels: Mapping) -> np.ndarray:
    """Numbers -> uint8: what `levels` has for whole numbers or for floats as (black, white).

    Of what it has nothing for, 65535 is white if they are whole, else 1, or 255 if they go above 1.
    """
    if numbers.dtype.kind == "u" and numbers.itemsize == 2 and numbers.size > 2 ** 16:
        every = np.arange(2 ** 16, dtype=np.uint16).reshape(256, 256)
        return eight_bits(every, levels).ravel()[numbers]  # sooner
    if numbers.dtype.kind == "f":
        above = numbers.max(initial=0, where=np.isfinite(numbers)) > 1
        black, white = levels.get("floats") or (0, 255 if above else 1)
    else:
        black, white = levels.get("integers") or (0, 65535)
    found = np.empty(numbers.shape, np.uint8)
    for row, eight in zip(numbers, found, strict=True):  # rows, or it would take 24 bytes a pixel
        fractions = np.clip((row.astype(np.float64) - black) / (white - black), 0, 1)
        eight[...] = np.rint(np.nan_to_num(fractions) * 255)
    return found


def _low_bytes(photo: Any) -> np.ndarray:
    """What Pillow leaves out of 16-bit colours: it comes in the other byte order."""
    place = photo.fp.tell()
    photo.fp.seek(0)
    twin: Any = Image.open(io.BytesIO(photo.fp.read()), formats=[photo.format])
    twin.seek(photo.tell())
    photo.fp.seek(place)
    grey = "LA;16" in str(twin.tile[0][3])  # has no other order; but its four bytes, as they lie
    twin.tile = [(*tile[:3], "RGBA" if grey else _in_other_order(tile[3])) for tile in twin.tile]
    low = np.asarray(_upright(twin))
    return low[..., [1, 1, 1, 3]] if grey else low


def _in_other_order(name: str | tuple) -> str | tuple:
    if isinstance(name, tuple):
        return (_in_other_order(name[0]), *name[1:])
    return WIDE.sub(lambda found: ";16" + OTHER[found[1]], name)


def _upright(photo: Image.Image) -> Image.Image:
    photo.load()
    turned = photo.getexif().get(ORIENTATION, 1) != 1
    return ImageOps.exif_transpose(photo) if turned else photo


if __name__ == "__main__":
    main(*sys.argv[1:])
