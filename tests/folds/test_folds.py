"""Folds: disjoint, covering, stratified, groups whole; a file that cannot be misread."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fer_kit.competition import NUM_CLASSES
from fer_kit.data import loading
from fer_kit.data.loading import Competition
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import deal, twins
from fer_kit.synthetic import draw


@pytest.fixture(scope="module")
def competition() -> Competition:
    return as_competition(draw.draw(1000, 250, seed=2))


@pytest.fixture(scope="module")
def made(competition: Competition) -> deal.Made:
    return deal.make(competition, count=5, seed=0)


def as_competition(drawn: draw.SyntheticCompetition) -> Competition:
    train = loading.TrainSet(np.arange(len(drawn.train_labels)), drawn.train_images, drawn.train_labels)
    test = loading.TestSet(np.arange(len(drawn.test_images)), drawn.test_images)
    return Competition(Path("drawn"), train, test, "d" * 64)


def reordered(competition: Competition, train: np.ndarray, test: np.ndarray) -> Competition:
    images, labels = competition.train.images[train], competition.train.labels[train]
    return replace(
        competition,
        train=loading.TrainSet(np.arange(len(train)), images, labels),
        test=loading.TestSet(np.arange(len(test)), competition.test.images[test]),
    )


# ------------------------------------------------------------------------------------------ invariants


@pytest.mark.slow
def test_every_row_is_held_out_once(made: deal.Made) -> None:
    table = made.folds
    assert table.count == 5
    held_out = np.concatenate([table.rows_out(fold) for fold in range(5)])
    np.testing.assert_array_equal(np.sort(held_out), table.ids)


def test_groups_are_whole(made: deal.Made) -> None:
    table = made.folds
    assert len(np.unique(table.groups)) < len(table.ids)
    assert len(np.unique(np.stack([table.groups, table.folds], axis=1), axis=0)) == len(np.unique(table.groups))


def test_copies_share_a_fold(competition: Competition, made: deal.Made) -> None:
    keys = twins.content_keys(competition.train.images)
    shown = ~twins.is_flat(competition.train.images)
    fold_of: dict[bytes, set[int]] = {}
    for key, fold in zip(keys[shown], made.folds.folds[shown], strict=True):
        fold_of.setdefault(key, set()).add(int(fold))
    assert {len(found) for found in fold_of.values()} == {1}


def test_folds_are_stratified(competition: Competition, made: deal.Made) -> None:
    sizes = np.bincount(made.folds.folds)
    assert sizes.max() - sizes.min() <= 3
    for label in range(NUM_CLASSES):
        counts = np.bincount(made.folds.folds[competition.train.labels == label], minlength=5)
        assert counts.max() - counts.min() <= 2, f"class {label}: {counts}"


def test_again_gives_the_same_bytes_and_another_seed_other_folds(competition: Competition, made: deal.Made) -> None:
    again, other = deal.make(competition), deal.make(competition, seed=1)
    assert (again.table, again.test_table, again.record) == (made.table, made.test_table, made.record)
    np.testing.assert_array_equal(other.folds.groups, made.folds.groups)
    assert (other.folds.folds != made.folds.folds).mean() > 0.5


def test_the_order_of_rows_moves_no_image(competition: Competition, made: deal.Made) -> None:
    """Another order of both files: the same partition into groups, and each image in the fold it had."""
    rng = np.random.default_rng(0)
    train, test = rng.permutation(len(competition.train.ids)), rng.permutation(len(competition.test.ids))
    moved = deal.make(reordered(competition, train, test))

    before = np.concatenate([made.folds.groups[train], made.test_groups[test]])
    after = np.concatenate([moved.folds.groups, moved.test_groups])
    np.testing.assert_array_equal(twins.by_first_appearance(before), after)
    shown = ~twins.is_flat(competition.train.images[train])  # flat images with one label may change places
    np.testing.assert_array_equal(made.folds.folds[train][shown], moved.folds.folds[shown])
    np.testing.assert_array_equal(np.bincount(made.folds.folds), np.bincount(moved.folds.folds))


def test_labels_have_no_say_in_groups(competition: Competition, made: deal.Made) -> None:
    labels = np.random.default_rng(0).permutation(competition.train.labels)
    other = deal.make(replace(competition, train=replace(competition.train, labels=labels)))
    np.testing.assert_array_equal(other.folds.groups, made.folds.groups)
    np.testing.assert_array_equal(other.test_groups, made.test_groups)


def test_statistics_count_what_is_there(made: deal.Made) -> None:
    groups = np.array([0, 0, 1, 2, 2, 2, 3])
    labels = np.array([3, 3, 1, 2, 2, 5, 6])
    table = deal.Folds(np.arange(7), labels, groups, np.array([0, 0, 1, 2, 2, 2, 1]), "")
    found = deal.statistics(table, np.array([2, 4, 0, 2, 5]))
    assert found == {
        "train_rows": 7,
        "test_rows": 5,
        "train_groups_of_two_and_more": 2,
        "train_rows_in_them": 5,
        "groups_with_conflicting_labels": 1,
        "test_rows_with_a_train_twin": 3,
        "largest_group": 5,
        "fold_rows": [2, 2, 3],
        "fold_class_rows": [[0, 0, 0, 2, 0, 0, 0], [0, 1, 0, 0, 0, 0, 1], [0, 0, 2, 0, 0, 1, 0]],
    }


# --------------------------------------------------------------------------------------------- assign


def random_rows(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.array([b"%032x" % i for i in range(n)]), np.arange(n) % NUM_CLASSES, np.arange(n)


@pytest.mark.parametrize(
    ("count", "seed", "message"),
    [
        (1, 0, "1 folds: at least 2 are needed"),
        (5, -1, "seed -1 must be 0 to 4294967295"),
        (5, 2**32, "seed 4294967296 must be 0"),
        (15, 0, r"14 train rows in 14 groups, at most 2 of one class, are too few for 15 folds; .*--folds"),
        (3, 0, r"at most 2 of one class, are too few for 3 folds"),
    ],
)
def test_impossible_folds_are_refused(count: int, seed: int, message: str) -> None:
    with pytest.raises(FerKitError, match=message):
        deal.assign(*random_rows(14), count, seed)


def test_a_class_with_fewer_rows_than_folds_is_dealt_and_noted(competition: Competition) -> None:
    rare = np.flatnonzero(competition.train.labels == 1)[:3]
    rows = np.concatenate([np.flatnonzero(competition.train.labels != 1)[:200], rare])
    made = deal.make(reordered(competition, rows, np.arange(20)), method="exact")
    assert "note: Disgust has 3 rows, too few for every fold to have one" in deal.report(made)


# ------------------------------------------------------------------------------------- folds.csv, read


GOOD = "id,label,group,fold\n0,3,0,0\n1,3,1,1\n2,0,0,0\n3,6,2,1\n"


def test_round_trip(made: deal.Made, tmp_path: Path) -> None:
    assert deal.write(tmp_path, made)
    table = deal.read(tmp_path / "folds.csv")
    for name in ("ids", "labels", "groups", "folds"):
        np.testing.assert_array_equal(getattr(table, name), getattr(made.folds, name))
        assert getattr(table, name).dtype == np.int64
    assert table.digest == made.folds.digest == atomic.sha256_of(tmp_path / "folds.csv") == made.record["digest"]
    np.testing.assert_array_equal(deal.read_test_groups(tmp_path / "folds-test.csv"), made.test_groups)


def test_rows_may_stand_in_any_order(tmp_path: Path) -> None:
    header, *rows = GOOD.splitlines()
    (tmp_path / "folds.csv").write_text("\n".join([header, *reversed(rows)]) + "\n")
    table = deal.read(tmp_path / "folds.csv")
    assert table.ids.tolist() == [0, 1, 2, 3] and table.labels.tolist() == [3, 3, 0, 6]
    assert table.digest != hashlib.sha256(GOOD.encode()).hexdigest()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "\ufeff" + GOOD,
            "was saved by another program, with a byte order mark or other separators, .*put the original",
        ),
        (GOOD.replace(",", ";"), "was saved by another program"),
        ("", r"the first line is '', must be 'id,label,group,fold'"),
        (GOOD.replace(",group", ""), r"the first line is 'id,label,fold', must be 'id,label,group,fold'"),
        ("id,label,group,fold\n", "no rows below the header"),
        (GOOD.replace("1,3,1,1", "1,3,1"), "line 3: 3 cells, must be 4"),
        (GOOD.replace("1,3,1,1", "1,3,1.5,1"), r"line 3: '1,3,1.5,1' must be whole numbers"),
        (GOOD.replace("1,3,1,1", "1,3,1_0,1"), r"line 3: '1,3,1_0,1' must be whole numbers"),
        (GOOD.replace("1,3,1,1", "1,3,,1"), r"line 3: '1,3,,1' must be whole numbers"),
        (GOOD.replace("1,3,1,1", f"1,3,{2**63},1"), f"line 3: '1,3,{2**63},1' must be whole numbers"),
        (GOOD.replace("1,3,1,1", "2,3,1,1"), "id 2 stands there 2 times, must be once"),
        (GOOD.replace("1,3,1,1\n", ""), r"id 1 is missing \(ids run from 0 without a gap\)"),
        (GOOD.replace("0,3,0,0", "-1,3,0,0"), r"id 0 is missing"),
        (GOOD.replace("3,6,2,1", "3,7,2,1"), "line 5: label 7 must be 0 to 6"),
        (
            GOOD.replace("2,0,0,0", "2,0,0,1"),
            r"group 0 is in fold 0 \(line 2\) and in fold 1 \(line 4\), must be in one",
        ),
        (GOOD.replace(",1\n", ",2\n"), "the folds are 0, 2, must be 0, 1, 2 … without a gap and at least two"),
        (GOOD.replace(",1\n", ",0\n"), "the folds are 0, must be 0, 1, 2 …"),
        (GOOD.replace(",1\n", ",-1\n"), "the folds are -1, 0, must be 0, 1, 2 …"),
    ],
)
def test_a_broken_file_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "folds.csv"
    path.write_text(text)
    with pytest.raises(FerKitError, match=message) as caught:
        deal.read(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
    assert str(caught.value).endswith("make the folds again with python -m fer_kit.folds --force")


def test_absent_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(FerKitError, match=r"no such file; make the folds with python -m fer_kit.folds$"):
        deal.read(tmp_path / "folds.csv")
    (tmp_path / "folds.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(FerKitError, match=r"cannot be read \(.*utf-8"):
        deal.read(tmp_path / "folds.csv")
    with pytest.raises(FerKitError, match="cannot be read"):
        deal.read(tmp_path)


def test_a_broken_file_of_test_groups(tmp_path: Path) -> None:
    (tmp_path / "folds-test.csv").write_text("id,group\n0,4\n0,5\n")
    with pytest.raises(FerKitError, match="id 0 stands there 2 times"):
        deal.read_test_groups(tmp_path / "folds-test.csv")


def test_check_knows_the_data(made: deal.Made, competition: Competition) -> None:
    labels = competition.train.labels
    deal.check(made.folds, labels)
    with pytest.raises(FerKitError, match="the folds have 1,000 rows but the train data 999"):
        deal.check(made.folds, labels[1:])
    changed = labels.copy()
    changed[[7, 9]] = (labels[[7, 9]] + 1) % NUM_CLASSES
    with pytest.raises(FerKitError, match=rf"train row 7 has label {changed[7]} .* \(2 rows differ\)"):
        deal.check(made.folds, changed)


@pytest.mark.parametrize("fold", [-1, 5])
def test_an_unknown_fold(made: deal.Made, fold: int) -> None:
    with pytest.raises(FerKitError, match=f"fold {fold} does not exist: choose 0 to 4"):
        made.folds.rows_out(fold)


def test_stopped_half_way_no_folds_file_lies_beside_foreign_groups(
    made: deal.Made, competition: Competition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deal.write(tmp_path, made)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("folds*")}
    other = deal.make(competition, count=4, method="exact")

    replace = os.replace

    def stopped_before(folder: Path) -> None:
        """Interrupted before the first file takes its place in `folder`."""

        def stop(source: str, target: Path) -> None:
            if Path(target).parent.parent == folder.parent and Path(target).parent.name.startswith(folder.name):
                raise KeyboardInterrupt
            replace(source, target)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, "replace", stop)
            deal.write(tmp_path, other, force=True)

    stopped_before(tmp_path / ".folds.csv.")  # aside
    assert {path.name: path.read_bytes() for path in tmp_path.glob("folds*")} == before
    stopped_before(tmp_path)
    assert not (tmp_path / "folds.csv").exists()
    assert deal.write(tmp_path, other)
