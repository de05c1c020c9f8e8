"""Commands to be killed: folds, blends, submissions, kernels built and fetched."""

from __future__ import annotations

import datetime
import re
import shutil
from functools import partial
from pathlib import Path

from ensembles import blend
from fer_kit.files import lock
from fer_kit.folds import __main__ as folds_command
from fer_kit.folds import table
from fer_kit.kaggle.client import KernelState
from fer_kit.runs import folders
from kernels import __main__ as kernels
from kernels import push_log
from submissions import __main__ as submissions
from submissions import build as submission
from submissions import source_record as sources
from tests.faults.scenes import Scene, Tree, clean_tree, each_is_whole, left_over, tree
from tests.helpers import fake_runs
from tests.helpers.pushed_kernels import RUN, SMALL, entry, save_output, save_runs

FOLDS = ("runs/folds.csv", "runs/folds-test.csv", "runs/folds.json")


def scenes(shared: Path) -> list[Scene]:
    """All of them; `shared` holds the competition in data/ and takes what is made once."""
    with_folds, with_blends = [make_folds(shared), remake_folds(shared)], [blended(), reblended()]
    with_kernels = [built(), fetched(shared / "kernel"), replaced(shared / "kernel")]
    return [*with_folds, *with_blends, submitted(), resubmitted(), *with_kernels]


# --- folds -----------------------------------------------------------------------------------------------------------


def fold_words(shared: Path, seed: int) -> list[str]:
    place = ["--data", str(shared / "data"), "--runs", "runs", "--folds", "3", "--method", "exact"]
    return [*place, "--seed", str(seed)]


def make_folds(shared: Path) -> Scene:
    command = partial(folds_command.main, fold_words(shared, 0))
    look = partial(folds_are_whole, before=None)
    return Scene("folds", lambda root: None, command, command, clean_tree, look)


def remake_folds(shared: Path) -> Scene:
    """Other folds in place of some that are there: the old ones or the new ones, and never a mixture."""
    before: Tree = {}

    def build(root: Path) -> None:
        from tests.faults.kills import attempt

        assert attempt(partial(folds_command.main, fold_words(shared, 0)), root).code == 0
        before.update(tree(root / "runs", root))

    command = partial(folds_command.main, [*fold_words(shared, 1), "--force"])
    look = partial(folds_are_whole, before=before)
    return Scene("folds --force", build, command, command, clean_tree, look)


def folds_are_whole(root: Path, whole: Tree, before: Tree | None) -> None:
    there = tree(root, root)
    each_is_whole(there, whole, before or {})
    if FOLDS[0] in there:
        of = [{name: one.get(name) for name in FOLDS} for one in (whole, before or {})]
        assert {name: there.get(name) for name in FOLDS} in of, "folds.csv beside files of other folds"
        assert table.read(root / FOLDS[0]).count == 3


# --- blends ----------------------------------------------------------------------------------------------------------


def two_runs(root: Path) -> None:
    for seed, name in enumerate(("a", "b")):
        fake_runs.save_run(root / "runs", name, seed=seed)


def blended() -> Scene:
    command = partial(blend.main, ["x", "--method", "mean"])
    return Scene("blend", two_runs, command, command, clean_tree, partial(blend_is_whole, before=None))


def reblended() -> Scene:
    """Another blend in place of one that is there."""
    before: Tree = {}

    def build(root: Path) -> None:
        from tests.faults.kills import attempt

        two_runs(root)
        words = ["x", "--method", "mean", "--members", "a", "--no-pictures"]
        assert attempt(partial(blend.main, words), root).code == 0
        before.update(tree(root / "runs/blends", root))

    command = partial(blend.main, ["x", "--method", "mean", "--force", "--no-pictures"])
    return Scene("blend --force", build, command, command, clean_tree, partial(blend_is_whole, before=before))


def blend_is_whole(root: Path, whole: Tree, before: Tree | None) -> None:
    there = tree(root / "runs", root)
    each_is_whole(there, whole, before or {})
    blends = folders.list_blends(root / "runs")
    assert blends in ([], ["x"]) and folders.list_runs(root / "runs") == ["a", "b"]
    if blends:
        folders.load_blend(root / "runs", "x")  # reads it, and holds every sum against its files


# --- submissions -----------------------------------------------------------------------------------------------------


def run_to_submit(root: Path) -> None:
    fake_runs.save_run(root / "runs", "a", seed=1)


def submit(*more: str) -> int:
    submission._today = lambda: datetime.date(2030, 1, 2)
    return submissions.main(["build", "a", "--out", "x.csv", *more])


def submitted() -> Scene:
    return Scene("submissions build", run_to_submit, submit, submit, clean_tree, submission_is_whole)


def resubmitted() -> Scene:
    """Another file in place of one that is there, with a record of its own."""

    def build(root: Path) -> None:
        from tests.faults.kills import attempt

        fake_runs.save_run(root / "runs", "a", seed=2)
        assert attempt(submit, root).code == 0
        run_to_submit(root)

    forced = partial(submit, "--force")
    return Scene("submissions build --force", build, forced, forced, clean_tree, known_submission)


def submission_is_whole(root: Path, whole: Tree) -> None:
    each_is_whole(tree(root, root), whole)


def known_submission(root: Path, whole: Tree) -> None:
    """The new file or the old one; its record is taken for it only where it was written for it."""
    from fer_kit.errors import FerKitError
    from fer_kit.files import atomic

    file = root / "x.csv"
    assert len(file.read_text().splitlines()) == fake_runs.TEST_ROWS
    try:
        known = sources.read(file, atomic.sha256_of(file))
    except FerKitError as error:
        assert "changed since" in str(error) and "x.csv.source.json" in str(error)
        return
    assert len(known.sha256) > 0


# --- kernels ---------------------------------------------------------------------------------------------------------


def built() -> Scene:
    def build(root: Path) -> None:
        (root / "runs").mkdir()
        (root / "runs/folds.csv").write_bytes(fake_runs.TABLE)

    words = ["build", *SMALL, "--folds", "0-2", "--owner", "player"]
    command = partial(kernels.main, words)
    return Scene("kernels build", build, command, command, kernel_tree, kernel_is_whole)


def kernel_tree(root: Path) -> Tree:
    """The kernel's folder without its run id, which is another one each time."""
    assert push_log.read(root / "runs") and not left_over(root), left_over(root)
    found = tree(root / "kernels", root)
    for name, value in found.items():
        if isinstance(value, bytes):
            found[name] = re.sub(rb'RUN_ID = "[^"]*"', b"", value)
    return found


def kernel_is_whole(root: Path, whole: Tree) -> None:
    there = list((root / "kernels/build").glob("[!.]*"))
    for folder in there:
        assert {path.name for path in folder.iterdir()} == {Path(name).name for name in whole}
    push_log.read(root / "runs")


class Kaggle:
    """What the client would bring, without starting it."""

    def __init__(self, output: Path) -> None:
        self.output = output

    knows_versions = False

    def kernel_state(self, ref: str) -> KernelState:
        return KernelState("complete", "COMPLETE", "")

    def kernel_output(self, ref: str, folder: Path) -> list[Path]:
        shutil.copytree(self.output, folder, dirs_exist_ok=True)
        return list(folder.iterdir())


def fetch(output: Path, *words: str) -> int:
    setattr(kernels, "Client", lambda: Kaggle(output))  # noqa: B010 (to mypy it is no name of that module)
    return kernels.main(["fetch", entry().run_id, *words])


def output_of(shared: Path) -> Path:
    """The output of a kernel that finished two folds and stopped within the third."""
    if not (shared / "output").exists():
        trained = save_runs(shared / "trained", finished=(0, 1), unfinished=(2,))
        save_output(shared / "output", entry().run_id, trained)
    return shared / "output"


def fetched(shared: Path) -> Scene:
    def build(root: Path) -> None:
        push_log.put(root / "runs", entry())

    command = partial(fetch, output_of(shared))
    return Scene("kernels fetch", build, command, command, fetched_tree, fetched_is_whole)


def replaced(shared: Path) -> Scene:
    """A fold of the kernel's takes the place of an unfinished one."""

    def build(root: Path) -> None:
        save_runs(root / "runs", finished=(), unfinished=(0,))
        push_log.put(root / "runs", entry())

    command = partial(fetch, output_of(shared), "--replace-unfinished")
    return Scene("kernels fetch --replace-unfinished", build, command, command, fetched_tree, fetched_is_whole)


def fetched_tree(root: Path) -> Tree:
    assert push_log.read(root / "runs")[0].state == push_log.FETCHED
    return clean_tree(root)


def fetched_is_whole(root: Path, whole: Tree) -> None:
    """Each fold folder is that of the kernel, or the unfinished one from before; no file of it is missing."""
    push_log.read(root / "runs")
    there = tree(root / "runs", root)
    for number in range(3):
        folder = f"runs/{RUN}/fold{number}/"
        ours = {name: value for name, value in there.items() if name.startswith(folder)}
        theirs = {name: value for name, value in whole.items() if name.startswith(folder)}
        if ours and ours != theirs:
            assert number == 0 and f"{folder}last.pt" in ours and f"{folder}result.json" not in ours
    assert folders.list_runs(root / "runs") in ([], [RUN])


# --- all -------------------------------------------------------------------------------------------------------------


def imports() -> list[object]:
    """What the commands import when they run, brought in before the forks."""
    import matplotlib.pyplot
    import sklearn.model_selection

    from kernels import fetch as fetching

    return [matplotlib.pyplot, sklearn.model_selection, fetching, lock]
