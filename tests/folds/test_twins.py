"""Twins: planted copies are found, look-alikes stay apart, and neither order nor threads change a group."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from fer_kit.errors import FerKitError
from fer_kit.folds import twin_alignment, twin_candidates, twins
from fer_kit.folds.twins import Images, Twins
from fer_kit.synthetic import draw, faces, near_copies
from fer_kit.synthetic.draw import SyntheticCompetition

# What two photos with the same pose, framing, surroundings and light have in common.
SCENE = (
    *("roll", "yaw", "pitch", "size", "shift_x", "shift_y", "back", "back_slope", "cloth", "light_x", "light_y"),
    *("shadow", "shadow_edge", "gain", "bias", "blur", "covered", "cover_x", "cover_y", "cover_size", "cover_slope"),
)
EXPRESSION = (
    *("brow_raise", "brow_inner", "brow_knit", "eye_open", "squint", "nose_wrinkle", "lip_raise", "smile"),
    *("stretch", "mouth_open", "teeth"),
)


def joined(found: Twins) -> set[tuple[int, int]]:
    """The partition as links between neighbours within a group."""
    order = np.argsort(found.groups, kind="stable")
    same = np.diff(found.groups[order]) == 0
    return set(zip(order[:-1][same].tolist(), order[1:][same].tolist(), strict=True))


@pytest.fixture(scope="module")
def drawn() -> SyntheticCompetition:
    return draw.draw(1000, 250, seed=1)


@pytest.fixture(scope="module")
def aligned(drawn: SyntheticCompetition) -> Twins:
    return twins.find(drawn.images, "aligned")


@pytest.fixture(scope="module")
def unaligned(drawn: SyntheticCompetition) -> Twins:
    return twins.find(drawn.images, "unaligned")


@pytest.fixture
def no_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)  # what an absent package looks like to `import`


def found_share(found: Twins, drawn: SyntheticCompetition, kind: str) -> float:
    pairs = drawn.twins[drawn.twin_kinds == kind]
    assert len(pairs) > 10
    return float((found.groups[pairs[:, 0]] == found.groups[pairs[:, 1]]).mean())


# ---------------------------------------------------------------------- planted twins and look-alikes


@pytest.mark.parametrize(
    ("kind", "least"), [("exact", 1.0), ("contrast", 0.95), ("watermark", 0.95), ("crop", 0.9), ("mirror", 0.9)]
)
def test_planted_twins_are_found(drawn: SyntheticCompetition, aligned: Twins, kind: str, least: float) -> None:
    assert found_share(aligned, drawn, kind) >= least


@pytest.mark.parametrize(("kind", "least"), [("exact", 1.0), ("contrast", 0.9), ("watermark", 0.7), ("crop", 0.2)])
def test_planted_twins_without_alignment(
    drawn: SyntheticCompetition, unaligned: Twins, kind: str, least: float
) -> None:
    assert found_share(unaligned, drawn, kind) >= least


@pytest.mark.parametrize("search", ["aligned", "unaligned"])
def test_no_strangers_are_joined(drawn: SyntheticCompetition, search: str, request: pytest.FixtureRequest) -> None:
    links = joined(request.getfixturevalue(search))
    assert len(links) > 100
    assert [link for link in links if drawn.photos[link[0]] != drawn.photos[link[1]]] == []


def look_alikes(change: Callable[[faces.Traits, faces.Traits], faces.Traits], n: int = 60) -> Images:
    """`n` faces, then for each another that `change` makes of its traits and some new ones: uint8 (2 n, 48, 48)."""
    rng, labels = np.random.default_rng(0), np.arange(n) % 7
    ours, theirs = faces.traits(labels, rng), faces.traits((labels + 3) % 7, rng)
    camera, other_camera = np.random.default_rng(1), np.random.default_rng(2)
    return np.concatenate([faces.render(ours, camera), faces.render(change(ours, theirs), other_camera)])


@pytest.mark.parametrize("method", ["aligned", "unaligned"])
def test_strangers_in_the_same_pose_and_light_stay_apart(method: str) -> None:
    images = look_alikes(lambda ours, theirs: theirs | {name: ours[name] for name in SCENE})
    assert joined(twins.find(images, method)) == set()


@pytest.mark.parametrize(("method", "most"), [("aligned", 6), ("unaligned", 0)])
def test_the_same_face_with_another_expression_stays_apart(method: str, most: int) -> None:
    """Same person, hair, pose, light and framing to the pixel: nearer to a twin than any second photo can be."""
    images = look_alikes(lambda ours, theirs: ours | {name: theirs[name] for name in EXPRESSION})
    assert len(joined(twins.find(images, method))) <= most


@pytest.mark.parametrize("method", ["aligned", "unaligned"])
def test_noise_joins_nothing(method: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, (150, 48, 48)).astype(np.uint8)
    assert joined(twins.find(images, method)) == set()


# ------------------------------------------------------------------------- what may not change a group


@pytest.mark.parametrize("method", ["aligned", "unaligned", "exact"])
def test_the_order_of_rows_changes_nothing(drawn: SyntheticCompetition, method: str) -> None:
    images = drawn.images[:500]
    order = np.random.default_rng(0).permutation(len(images))
    in_order, shuffled = twins.find(images, method), twins.find(images[order], method)
    back = np.empty_like(shuffled.groups)
    back[order] = shuffled.groups
    np.testing.assert_array_equal(twins.by_first_appearance(back), in_order.groups)
    assert shuffled.counts == in_order.counts


def test_the_number_of_threads_changes_nothing(drawn: SyntheticCompetition) -> None:
    images = drawn.images[:500]
    several = twins.find(images, "aligned", threads=3)
    with threadpool_limits(1):
        one = twins.find(images, "aligned", threads=1)
    np.testing.assert_array_equal(one.groups, several.groups)
    np.testing.assert_array_equal(one.pairs, several.pairs)


def test_products_of_embeddings_are_exact() -> None:
    """Whole numbers whose sums stay below 2²⁴: no order of summation can round them apart."""
    rng = np.random.default_rng(0)
    descriptions = rng.random((300, twin_candidates.BINS, twin_candidates.GRID, twin_candidates.GRID), np.float32)
    rows = twin_candidates.embedding(descriptions)(descriptions)
    assert (rows == np.round(rows)).all()
    assert (np.abs(rows) @ np.abs(rows).T).max() < 2**24
    np.testing.assert_array_equal(rows @ rows.T, (rows.astype(np.int64) @ rows.astype(np.int64).T))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), twin_candidates.SCALE, rtol=0.01)


def test_mirrored_descriptions_are_those_of_mirrored_images(drawn: SyntheticCompetition) -> None:
    images = drawn.images[:40]
    with ThreadPoolExecutor(1) as pool:
        there = twin_candidates.mirrored(twin_candidates.describe(images, pool))
        back = twin_candidates.describe(np.ascontiguousarray(images[:, :, ::-1]), pool)
    np.testing.assert_allclose(there, back, atol=2e-6)


# -------------------------------------------------------------------------------- flat images, few images


def test_flat_images_stay_alone_even_when_identical(drawn: SyntheticCompetition, aligned: Twins) -> None:
    sizes = np.bincount(aligned.groups)
    assert len(drawn.flat) >= 4 and (sizes[aligned.groups[drawn.flat]] == 1).all()
    assert aligned.counts["flat"] == len(drawn.flat)
    black = np.zeros((150, 48, 48), np.uint8)  # more than a group may hold
    np.testing.assert_array_equal(twins.find(black).groups, np.arange(150))


def test_flat_means_a_standard_deviation_under_five() -> None:
    images = np.full((2, 48, 48), 100, np.uint8)
    images[0, ::2] += 10  # standard deviation 5
    images[1, ::2] += 9
    assert twins.is_flat(images).tolist() == [False, True]


@pytest.mark.parametrize("method", ["aligned", "unaligned", "exact"])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_images(drawn: SyntheticCompetition, count: int, method: str) -> None:
    different = drawn.images[np.unique(drawn.photos)[:50]][:count]
    np.testing.assert_array_equal(twins.find(different, method).groups, np.arange(count))
    twice = np.concatenate([different, different])
    np.testing.assert_array_equal(twins.find(twice, method).groups, np.tile(np.arange(count), 2))


@pytest.mark.parametrize("rows", [20, 40, 100])
def test_crops_are_found_among_few_images(drawn: SyntheticCompetition, rows: int) -> None:
    pairs = drawn.twins[drawn.twin_kinds == "crop"][:8]
    others = np.setdiff1d(np.unique(drawn.photos), np.append(drawn.photos[pairs], drawn.flat))
    images = np.concatenate([drawn.images[pairs[:, 0]], drawn.images[pairs[:, 1]], drawn.images[others[:rows]]])
    groups = twins.find(images, "aligned").groups
    assert (groups[:8] == groups[8:16]).sum() >= 6
    assert len(np.unique(groups)) >= rows + 8


def test_groups_are_numbered_by_first_appearance() -> None:
    groups = np.array([7, 3, 7, 9, 3, 0])
    assert twins.by_first_appearance(groups).tolist() == [0, 1, 0, 2, 1, 3]


def test_pairs_name_rows_that_share_a_group(drawn: SyntheticCompetition, aligned: Twins) -> None:
    first, second = aligned.pairs.T
    assert len(aligned.pairs) == aligned.counts["joined"] + aligned.counts["mirrored_joined"] > 0
    assert (aligned.groups[first] == aligned.groups[second]).all() and (first != second).all()


# ------------------------------------------------------------------------------------- refusals, no OpenCV


def test_a_group_over_the_limit_stops_the_search(drawn: SyntheticCompetition) -> None:
    images = np.repeat(drawn.images[:2], (101, 3), axis=0)
    with pytest.raises(FerKitError, match=r"101 images .* limit of 100 .*rows 0, 1, 2 ….*--method exact$"):
        twins.find(images, "unaligned")
    with pytest.raises(FerKitError, match="remove the copies from the data$"):
        twins.find(images, "exact")
    assert np.bincount(twins.find(images[1:], "exact").groups).max() == 100


@pytest.mark.slow
def test_a_chain_over_the_limit_stops_the_search(drawn: SyntheticCompetition) -> None:
    more = near_copies.make(np.repeat(drawn.images[:1], 110, axis=0), "contrast", np.random.default_rng(0))
    with pytest.raises(FerKitError, match="form one twin group, over the limit of 100"):
        twins.find(np.concatenate([drawn.images, more]), "aligned")


def test_too_many_candidates_are_refused_before_they_are_aligned() -> None:
    rows = np.full((200, 4), twin_candidates.SCALE / 2, np.float32)
    with pytest.raises(FerKitError, match="more than 50 pairs .* 200 images.*; use --method exact"):
        twin_candidates.near_pairs(rows, rows, 0.5)
    assert len(twin_candidates.near_pairs(rows[:100], rows[:100], 0.5).pairs) == 100 * 99 / 2


def test_among_many_images_the_pairs_most_alike_are_aligned(
    drawn: SyntheticCompetition, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = twins.find(drawn.images, "aligned")
    assert "candidates_left_out" not in whole.counts and whole.thresholds["candidate_cosine"] == twins.CANDIDATE_COSINE
    monkeypatch.setattr(twin_candidates, "ALWAYS_ALIGNED", 0)
    share = whole.counts["candidates"] / whole.counts["images"] / 2
    monkeypatch.setattr(twin_candidates, "ALIGNED_PER_IMAGE", share)
    fewer = twins.find(drawn.images, "aligned")
    assert fewer.counts["candidates_left_out"] > 0 and fewer.thresholds["candidate_cosine"] > twins.CANDIDATE_COSINE
    assert 0.4 < fewer.counts["candidates"] / whole.counts["candidates"] < 0.6
    assert fewer.counts["joined"] > 0.5 * whole.counts["joined"]  # strangers go first
    order = np.random.default_rng(0).permutation(len(drawn.images))
    again = twins.find(drawn.images[order], "aligned")  # the choice hangs on the images alone
    assert (again.counts, again.thresholds) == (fewer.counts, fewer.thresholds)


def test_an_unknown_method_is_named(drawn: SyntheticCompetition) -> None:
    with pytest.raises(FerKitError, match=r"'alined' must be one of auto, .* \(did you mean 'aligned'\?\)"):
        twins.find(drawn.images[:2], "alined")


@pytest.mark.usefixtures("no_opencv")
def test_without_opencv(drawn: SyntheticCompetition, unaligned: Twins) -> None:
    assert not twin_alignment.available()
    with pytest.raises(FerKitError, match="'aligned' needs OpenCV: pip install opencv-python-headless"):
        twins.find(drawn.images, "aligned")
    found = twins.find(drawn.images)
    assert found.method == "unaligned"
    np.testing.assert_array_equal(found.groups, unaligned.groups)


def test_opencv_keeps_its_threads(drawn: SyntheticCompetition) -> None:
    import cv2

    before = cv2.getNumThreads()
    twins.find(drawn.images[:40], "aligned")
    assert cv2.getNumThreads() == before
