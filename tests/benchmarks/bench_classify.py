"""How FER2013's faces are cropped, how many faces the detectors find in photos, and how many photos a second.

    python -m tests.benchmarks.bench_classify --data data --by vgg_small --record tests/benchmarks/records/classify.json

Needs the real faces. Margins: each face is enlarged four times and gets a border; the detected box is compared with
the frame of the face. Photos: four real faces of 100 to 240 px on a grey ramp with noise; a found box counts if its
centre is within a quarter of the face.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from fer_kit import cli
from fer_kit.classify import crop, detect
from fer_kit.classify.answers import BATCH_FACES
from fer_kit.data import loading
from fer_kit.predict import named
from tests.benchmarks import bench_record

MEASURED = ("fer_kit/classify/*.py", "tests/benchmarks/bench_classify.py")
ENLARGED_PX, BORDER_PX = 192, 96
PHOTO_PX, FACES = (1200, 400), 4  # width and height
FACE_PX = (100, 240)
FEATHER = 12  # edges of a face in a photo fade within 1/12 of half its side


def margins(faces: np.ndarray, detector: detect.Detector, times: float) -> dict[str, Any]:
    """Quartiles of the frame's side in sides of the box, and of the offsets of its centre. times: of the detector."""
    found = []
    for face in faces:
        large = cv2.resize(face, (ENLARGED_PX, ENLARGED_PX), interpolation=cv2.INTER_CUBIC)
        padded = cv2.copyMakeBorder(large, *[BORDER_PX] * 4, cv2.BORDER_CONSTANT, value=128)
        boxes = detector.find(np.repeat(padded[:, :, None], 3, axis=2))
        if boxes:
            found.append(max(boxes, key=lambda box: box.side))
    sides = np.array([box.side / times for box in found])
    middle = BORDER_PX + ENLARGED_PX / 2
    right = np.array([box.left + box.side / 2 - middle for box in found]) / sides
    down = np.array([box.top + box.side / 2 - middle for box in found]) / sides
    figures = {"frame_in_boxes": ENLARGED_PX / sides, "right_in_boxes": right, "down_in_boxes": down}
    return {
        "faces": len(faces),
        "found": len(found),
        **{name: [round(float(q), 3) for q in np.percentile(value, (25, 50, 75))] for name, value in figures.items()},
    }


def photo(faces: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """A photo (H, W, 3) of four faces, and the place of each: left, top, side."""
    width, height = PHOTO_PX
    y, x = np.mgrid[0:height, 0:width]
    ground = 110 + 60 * x / width + 30 * y / height + rng.normal(0, 3, (height, width))
    places = []
    for number, face in enumerate(faces):
        side = int(rng.integers(*FACE_PX))
        left = 30 + number * 290 + int(rng.integers(0, 40))
        top = int(rng.integers(10, height - side - 10))
        large = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC).astype(float)
        down, right = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
        mask = np.clip((1 - np.maximum(abs(right), abs(down))) * FEATHER, 0, 1)
        part = ground[top : top + side, left : left + side]
        part[:] = mask * large + (1 - mask) * part
        places.append((left, top, side))
    return np.repeat(ground.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2), places


def in_photos(photos: list[tuple[np.ndarray, list[tuple[int, int, int]]]], detector: detect.Detector) -> dict[str, Any]:
    """Found faces and false boxes, and milliseconds of CPU time a photo."""
    began, hits, false = time.process_time(), 0, 0
    for pixels, places in photos:
        left = set(places)
        for box in detector.find(pixels):
            at = box.left + box.side / 2, box.top + box.side / 2
            near = [p for p in places if max(abs(at[0] - p[0] - p[2] / 2), abs(at[1] - p[1] - p[2] / 2)) < p[2] / 4]
            false += not near
            left -= set(near)
        hits += len(places) - len(left)
    cpu = (time.process_time() - began) / len(photos)
    faces = len(photos) * FACES
    return {"photos": len(photos), "faces": faces, "found": hits, "false": false, "cpu_ms_a_photo": round(1e3 * cpu, 1)}


def speed(photos: list[np.ndarray], detector: detect.Detector, model: Any, threads: int) -> dict[str, Any]:
    """Photos a second of CPU time, from pixels to probabilities; faces are predicted together, as the command does."""
    cv2.setNumThreads(threads)
    torch.set_num_threads(threads)
    cpu = time.process_time()
    faces = [crop.crop(pixels, box) for pixels in photos for box in detector.find(pixels)]
    for start in range(0, len(faces), BATCH_FACES):
        model(np.stack(faces[start : start + BATCH_FACES]))
    cpu = time.process_time() - cpu
    figure = round(len(photos) / cpu, 2)
    return {"threads": threads, "photos": len(photos), "faces": len(faces), "photos_a_cpu_second": figure}


def build_parser() -> argparse.ArgumentParser:
    parser = cli.parser("python -m tests.benchmarks.bench_classify", "Margins, detection rate and speed of classify.")
    parser.add_argument("--data", help="folder with the competition's files")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of runs")
    parser.add_argument("--by", help="run, fold, blend or packed file; without it the network that ships")
    parser.add_argument("--detector", type=Path, help="a YuNet model, measured beside the cascade")
    parser.add_argument("--faces", type=int, default=400, help="faces for the margins")
    parser.add_argument("--photos", type=int, default=50, help="photos of four faces")
    parser.add_argument("--threads", type=int, default=1, help="waiting threads count as CPU time, so 1 is exact")
    parser.add_argument("--record", type=Path, help="write a JSON record here")
    parser.add_argument("--note", help="what to say in the record, such as other work on the machine")
    return parser


def body(args: argparse.Namespace) -> None:
    host = bench_record.machine()
    model = named.model(args.by, args.runs, "cpu")
    images = loading.load(loading.find(args.data), args.runs / "cache").train.images
    rng = np.random.default_rng(0)
    faces = images[np.sort(rng.choice(len(images), args.faces, replace=False))]
    photos = [photo(images[rng.integers(len(images), size=FACES)], rng) for _ in range(args.photos)]
    detectors = [(detect.make(None), detect.HAAR_FRAME)]
    detectors += [(detect.make(args.detector), detect.YUNET_FRAME)] if args.detector else []
    found = {}
    for detector, times in detectors:
        cv2.setNumThreads(1)
        found[detector.name] = {
            "margins": margins(faces, detector, times),
            "photos": in_photos(photos, detector),
            "speed": speed([pixels for pixels, _ in photos], detector, model, args.threads),
        }
        print(detector.name, found[detector.name], flush=True)
    record = {
        **bench_record.head("classify", host, MEASURED, ("torch", "numpy")),
        "opencv": cv2.__version__,
        "note": args.note,
        "network": model.name,
        "networks_views": repr(model),
        "photo_px": list(PHOTO_PX),
        "detectors": found,
    }
    bench_record.keep(args.record, record)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(build_parser, body, argv)


if __name__ == "__main__":
    raise SystemExit(main())
