"""Score photos with an exported model: numpy, Pillow and onnxruntime are all it needs.

    python onnx_predict.py bolts.onnx photo.jpg another.jpg

Copy this file beside the model, or take it as an example. Ordinary RGB photos come out as in indad;
16-bit and transparent pictures need `indad.data.images.to_rgb` before.
"""

import json
import sys

import numpy as np
from PIL import Image, ImageOps


def prepare(photo: Image.Image, preprocessing: dict) -> np.ndarray:
    """Any photo -> `(h, w, 3)` uint8 as the model takes it: upright, RGB, resized, cropped."""
    photo = ImageOps.exif_transpose(photo).convert("RGB")
    resize, crop = preprocessing["resize"], preprocessing["crop"]
    if isinstance(resize, list):
        height, width = resize
    elif crop is None:
        height = width = resize
    else:  # the shortest side
        height, width = (resize * side // min(photo.size) for side in photo.size[::-1])
    photo = photo.resize((width, height), Image.Resampling.BILINEAR)
    if crop is not None:
        left, top = round((width - crop) / 2), round((height - crop) / 2)
        photo = photo.crop((left, top, left + crop, top + crop))
    return np.asarray(photo)


def main(model: str, *photos: str) -> None:
    """Print a line for each photo: verdict, score, and where the map is highest, in its frame."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["indad"])
    for name in photos:
        pixels = prepare(Image.open(name), about["preprocessing"])
        if about.get("pixels") == "float32":
            pixels = pixels.astype(np.float32) / 255
        (score,), (heat,), (defective,) = session.run(["score", "map", "verdict"],
                                                      {"image": pixels[None]})
        y, x = divmod(int(heat.argmax()), heat.shape[1])
        print(f"{name}: {'defective' if defective else 'good'}, score {score:.6f} "
              f"(limit {about['threshold']:.6f}), highest at row {y}, column {x}")


if __name__ == "__main__":
    main(*sys.argv[1:])
