"""Pipelines of albumentations from files, refused in words where they do not work; batches that workers leave alone."""

from __future__ import annotations

import itertools
import json
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from fer_kit.batches import epoch, pipeline_file
from fer_kit.batches import workers as user_batches
from fer_kit.batches.pipeline import Pipeline
from fer_kit.batches.pipeline_file import V3, AugmentFile
from fer_kit.competition import PIXEL_MEAN, PIXEL_STD
from fer_kit.config import settings
from fer_kit.config.train_config import TrainConfig
from fer_kit.errors import FerKitError

# ten times ten times ten …, in 500 bytes
BOMB = "a: &a [1]\n" + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in itertools.pairwise("abcdefghi"))
BOMB += "transform: {__class_fullname__: Compose, transforms: [*i]}\n"
PLAIN = TrainConfig(recipe="plain", model="deep_v1", epochs=2, batch_size=16)
# forking a process that has threads is what DataLoader does on Linux; newer Pythons warn
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def content(*transforms: object, **compose: object) -> dict[str, object]:
    return {"transform": {"__class_fullname__": "Compose", "p": 1.0, "transforms": list(transforms), **compose}}


def one(name: str, **options: object) -> dict[str, object]:
    return {"__class_fullname__": name, "p": 1.0, **options}


def pipeline(*transforms: object) -> Pipeline:
    return Pipeline(AugmentFile("mine@0", "mine.json", content(*transforms), b""))


def face(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (48, 48), dtype=np.uint8)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- files ----------------------------------------------------------------------------------------------------------
def test_what_albumentations_saves_is_read_in_both_forms_and_named_by_its_content(tmp_path):
    import albumentations as A

    made = A.Compose([A.HorizontalFlip(p=0.5), A.OneOf([A.Blur(), A.GaussNoise(p=1.0)], p=0.3)])
    names = set()
    for kind in ("json", "yaml"):
        path = tmp_path / f"mine.{kind}"
        A.save(made, path, data_format=kind)
        file = pipeline_file.open_file(str(path))
        names.add(file.name)
        assert A.to_dict(Pipeline(file).transforms)["transform"] == A.to_dict(made)["transform"]
    assert all(settings.NAMED_FILE.fullmatch(name) and name.startswith("mine@") for name in names)
    assert len(names) == 2
    A.save(A.VerticalFlip(p=1.0), tmp_path / "mine.json")
    image = face()
    assert np.array_equal(Pipeline(pipeline_file.open_file(str(tmp_path / "mine.json")))(image, 0), image[::-1])


def test_the_built_in_pipeline_can_be_saved_and_edited(tmp_path):
    for name, as_yaml in (("v3.json", False), ("v3.yaml", True)):
        (tmp_path / name).write_text(pipeline_file.text_of(V3, as_yaml))
        assert pipeline_file.open_file(str(tmp_path / name)).content == V3
    assert pipeline_file.open_file(str(tmp_path / "v3.json")).name == pipeline_file.open_file("v3").name


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("mine.txt", "", r"mine.txt: allowed are .* .json, .yaml, .yml .* v3; .*albumentations.save"),
        ("none.json", None, r"none.json: no such file; save a pipeline with albumentations.save\(pipeline, FILE\)"),
        ("mine.json", "{half", r"mine.json: .* JSON \(Expecting property name"),
        ("mine.json", b"\xff\xfe\x00", r"mine.json: .* JSON \("),
        ("mine.yaml", "a: [", r"mine.yaml: .* YAML \(while parsing"),
        ("mine.yaml", "just words", r"mine.yaml: .* pipeline of albumentations \(no 'transform'"),
        ("mine.json", '{"transform": {}}', r"mine.json: .* pipeline of albumentations"),
        (
            "loop.yaml",
            "transform: &a\n  __class_fullname__: Compose\n  transforms: [*a]\n",
            "loop.yaml: .* 50 levels",
        ),
        ("bomb.yaml", BOMB, "bomb.yaml: .* 100,000 values"),
        ("long.yaml", "#" * 2**20 + "\n", "long.yaml: larger than 1,048,576 bytes"),
        ("my own.json", json.dumps(content()), r"'my own': .*allowed are letters, digits"),
    ],
)
def test_files_that_are_refused(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FerKitError, match=message) as error:
        pipeline_file.open_file(str(tmp_path / name))
    assert "\n" not in str(error.value)


# --- pipelines ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ([one("HorizontalFlop")], r"mine.json: albumentations .* has no 'HorizontalFlop' \(did you mean 'Horizontal"),
        ([one("Affine", rotat=5)], r"mine.json: Affine has no option 'rotat'; see albumentations' manual"),
        ([one("Affine", rotate="far")], r"mine.json: Affine cannot be built \(.*rotate.*Input should be a valid"),
        ([one("OneOf", transforms=[one("Normalize")])], r"mine.json: .*normalises.*; remove Normalize"),
        ([{"p": 1.0}], r"mine.json: .*no '__class_fullname__': \{'p': 1.0\}"),
        ([one("OneOf", transforms=3)], r"mine.json: 'transforms' of OneOf .* list: 3"),
        ([one("ISONoise")], r"mine.json: ISONoise fails on a grey face of 48×48 \(This transformation expects 3-ch"),
        ([one("OneOf", transforms=[one("RandomFog")])], r"mine.json: RandomFog fails on a grey face"),
        ([one("Crop", x_max=400, y_max=400)], r"mine.json: Crop fails on a grey face"),
        ([one("RandomScale")], r"mine.json: .* shape \(\d+, \d+, 1\), allowed is \(48, 48, 1\); .*Resize"),
        ([one("ToRGB")], r"mine.json: .* shape \(48, 48, 3\), allowed is \(48, 48, 1\)"),
        (
            [one("ToFloat", max_value=1.0)],
            r"floats from \d+ to 255, allowed are 0 to 1; .*normalises",
        ),
        ([one("ToFloat"), one("FromFloat", dtype="uint16")], r"uint16, allowed are uint8 and floats from 0 to 1"),
        ([one("RandomScale") | {"p": 0.2}], r"mine.json: .* image of shape"),  # not at every draw
    ],
)
def test_pipelines_that_are_refused_before_training(transforms, message):
    with pytest.raises(FerKitError, match=message) as error:
        pipeline(*transforms).try_on(face())
    assert "\n" not in str(error.value)


COMPOSE = "albumentations.core.composition.Compose"


@pytest.mark.parametrize("name", ["Compose", COMPOSE])
def test_without_p_the_default_of_the_class_counts(name, tmp_path):
    """albumentations would take half: 515 of 1,000 images flipped, and crops without the resize after them."""

    def made(*transforms):
        path = tmp_path / "mine.json"
        path.write_text(json.dumps({"transform": {"__class_fullname__": name, "transforms": transforms}}))
        return Pipeline(pipeline_file.open_file(str(path)))

    image = face()
    flip = {"__class_fullname__": "HorizontalFlip"}
    assert all(np.array_equal(made(flip | {"p": 1.0})(image, seed), image[:, ::-1]) for seed in range(50))
    assert 5 < sum(np.array_equal(made(flip)(image, seed), image) for seed in range(40)) < 35  # 0.5, its default
    crop = {"__class_fullname__": "CenterCrop", "height": 40, "width": 40}
    made(crop, {"__class_fullname__": "Resize", "height": 48, "width": 48}).try_on(image)
    inside = {"__class_fullname__": "Sequential", "p": 1.0, "transforms": [crop, {**crop, "height": 48, "width": 48}]}
    with pytest.raises(FerKitError, match="CenterCrop"):
        made(inside).try_on(image)


@pytest.mark.parametrize(("always", "flips"), [(False, "some"), (True, "all"), (None, "some")])
def test_files_of_albumentations_before_2_are_read(always, flips):
    flip = one("HorizontalFlip") | {"p": 0.5, "always_apply": always}
    image = face()
    count = sum(np.array_equal(pipeline(flip)(image, seed), image[:, ::-1]) for seed in range(40))
    assert count == 40 if flips == "all" else 5 < count < 35


def test_options_that_are_gone_are_told_with_the_version_that_wrote_the_file(tmp_path):
    for described, words in (
        (one("Affine", cval=0), "Affine has no option 'cval'; albumentations 1.3.1 wrote the file"),
        (one("Cutout"), r"albumentations .* has no 'Cutout'.*; albumentations 1.3.1 wrote the file"),
        (one("Affine", rotate="far"), r"Affine cannot be built .*; albumentations 1.3.1 wrote the file"),
        (one("Affine", always_apply="yes"), "always_apply of Affine is yes, allowed are true and false"),
    ):
        whole = one("Compose", transforms=[described])
        (tmp_path / "mine.json").write_text(json.dumps({"__version__": "1.3.1", "transform": whole}))
        with pytest.raises(FerKitError, match=words):
            Pipeline(pipeline_file.open_file(str(tmp_path / "mine.json")))


def test_shapes_and_types_that_are_taken():
    image = face()
    for transforms in ([], [one("ToTensorV2")], [one("ToFloat")], [one("ToFloat"), one("ToTensorV2")]):
        made = pipeline(*transforms)(image, 0)
        assert made.shape == (48, 48)
        assert np.allclose(made * (1 if made.dtype == np.uint8 else 255), image)


def test_a_seed_decides_and_transforms_draw_apart():
    """Two halvings drawn from one number would both be strong or both be weak."""
    halve = one("ColorJitter", brightness=[0.5, 1.0], contrast=[1.0, 1.0], saturation=[1.0, 1.0], hue=[0.0, 0.0])
    made, even = pipeline(halve, halve), np.full((48, 48), 200, np.uint8)
    greys = np.array([made(even, seed)[0, 0] for seed in range(300)])
    assert np.array_equal(greys, [made(even, seed)[0, 0] for seed in range(300)])
    assert len(np.unique(greys)) > 60
    assert (greys > 180).mean() < 0.06  # both above 0.9: 2.3% of independent draws, 10% of equal ones


def test_a_pipeline_can_be_sent_to_a_worker_of_its_own_kind():
    """Where workers are started anew instead of forked (macOS, newer Pythons) the pipeline is pickled."""
    made = Pipeline(pipeline_file.open_file("v3"))
    again = pickle.loads(pickle.dumps(user_batches.Augmented(face()[None], made)))
    order = ([0, 0, 0], [5, 6, 7])
    assert np.array_equal(again[order], user_batches.Augmented(face()[None], made)[order])


# --- batches --------------------------------------------------------------------------------------------------------
def numbered(count: int) -> torch.Tensor:
    """Images whose grey is their row number."""
    return torch.arange(count, dtype=torch.uint8)[:, None, None].expand(-1, 48, 48).contiguous()


def test_an_epoch_is_like_that_of_the_device():
    """Same order of rows, sizes, types and layout; a pipeline that does nothing gives the very same batches."""
    images, labels = numbered(100), torch.arange(100) % 7
    feed = user_batches.UserBatches(pipeline(), 0).epoch
    ours = list(feed(images, labels, PLAIN, rng(), None))
    theirs = list(epoch.epoch(images, labels, PLAIN, rng()))
    assert len(ours) == len(theirs) == epoch.count(100, 16)
    for (x, y), (their_x, their_y) in zip(ours, theirs, strict=True):
        assert torch.equal(x, their_x) and torch.equal(y, their_y)
        assert x.is_contiguous(memory_format=torch.channels_last) and x.dtype == torch.float32
    targets = torch.eye(7)[labels]
    for (_, y), (_, wanted) in zip(ours, feed(images, labels, PLAIN, rng(), targets), strict=True):
        assert torch.equal(wanted, torch.eye(7)[y])


def test_workers_change_nothing_and_epochs_differ():
    images, labels = torch.from_numpy(np.stack([face(seed) for seed in range(40)])), torch.zeros(40, dtype=torch.int64)
    found = []
    for workers in (0, 2):
        feed = user_batches.UserBatches(Pipeline(pipeline_file.open_file("v3")), workers).epoch
        state = torch.get_rng_state()
        found.append([torch.cat([x for x, _ in feed(images, labels, PLAIN, rng(seed), None)]) for seed in (1, 1, 2)])
        assert torch.equal(torch.get_rng_state(), state)  # dropout draws the same with and without a pipeline
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert torch.equal(found[0][0], found[0][1]) and not torch.equal(found[0][0], found[0][2])


def test_floats_are_taken_as_shares_of_white_also_where_only_some_images_are():
    images, labels = numbered(64), torch.arange(64) % 7
    sometimes = pipeline(one("ToFloat") | {"p": 0.5})
    for x, _ in user_batches.UserBatches(sometimes, 0).epoch(images, labels, PLAIN, rng(), None):
        grey = (x[:, 0, 0, 0] * PIXEL_STD + PIXEL_MEAN) * 255
        torch.testing.assert_close(grey, grey.round(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_failure_in_a_worker_is_one_line(workers):
    """On images unlike the one that it was tried on."""
    fails = pipeline(one("GridElasticDeform", num_grid_xy=[4, 4], magnitude=4))
    broken = user_batches.UserBatches(fails, workers)
    fails.transforms.transforms[0].magnitude = "much"
    with pytest.raises(FerKitError, match=r"mine.json: GridElasticDeform fails on a grey face") as error:
        list(broken.epoch(numbered(20), torch.zeros(20, dtype=torch.int64), PLAIN, rng(), None))
    assert "\n" not in str(error.value)


def wait_until_idle(pid: int) -> None:
    """Wait until a process has used no processor time for half a second."""
    before = None
    while (now := Path(f"/proc/{pid}/stat").read_text().split()[13:15]) != before:
        before = now
        time.sleep(0.5)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system has no /proc")
def test_a_worker_that_is_killed_is_told_in_one_line():
    feed = user_batches.UserBatches(pipeline(), 1)
    found = feed.epoch(numbered(200), torch.zeros(200, dtype=torch.int64), PLAIN, rng(), None)
    next(found)
    worker = feed.loader._iterator._workers[0]
    wait_until_idle(worker.pid)  # killed within a message, it would leave torch's reader waiting for the rest of it
    worker.kill()
    with pytest.raises(FerKitError, match=r"worker of --augment .*\(DataLoader .*\); .*--resume.*--workers"):
        list(found)


@pytest.mark.parametrize(
    "error", [BrokenPipeError(), RuntimeError("An attempt has been made to start a new process before the current …")]
)
def test_workers_that_import_an_unguarded_script_are_told_so(error, monkeypatch):
    feed = user_batches.UserBatches(pipeline(), 1)

    def fails(images):
        raise error

    monkeypatch.setattr(feed, "_loader", fails)
    with pytest.raises(FerKitError, match=r'put its code under `if __name__ == "__main__":`, or give workers=0'):
        list(feed.epoch(numbered(8), torch.arange(8) % 7, PLAIN, rng(), None))
