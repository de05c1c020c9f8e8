"""Building a kernel: arguments, metadata, the script that a person reads, and what is refused at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fer_kit.batches import pipeline_file
from fer_kit.errors import FerKitError
from fer_kit.train import __main__ as train
from fer_kit.train.request import resolve
from kernels import __main__ as commands
from kernels import build, bundle, plan, push_log
from kernels.inside import accelerators, pipeline, session
from kernels.inside.settings import Places, Settings, run_name
from tests.helpers import fake_runs
from tests.helpers.pushed_kernels import SMALL, constants, parsed
from tests.helpers.source_tree import HEAVY, ROOT


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, and a home without credentials."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "KAGGLE_CONFIG_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)


def planned(*argv: str) -> plan.Plan:
    [made] = plan.of(parsed("build", *argv), "player")
    return made


@pytest.mark.slow
def test_the_built_folder_is_complete_and_readable(capsys):
    Path("runs").mkdir()
    Path("runs/folds.csv").write_bytes(fake_runs.TABLE)
    more = ["--owner", "player", "--internet", "--seed", "4", "--compile"]
    assert commands.main(["build", *SMALL, "--folds", "0-2", *more]) == 0
    told = capsys.readouterr().out
    folder = Path("kernels/build/fer-kit-baseline-v1-small-seed4-folds-0-2")
    assert f"kaggle kernels push -p {folder}" in told
    assert {path.name for path in folder.iterdir()} == {"kernel-metadata.json", f"{folder.name}.py"}

    metadata = json.loads((folder / "kernel-metadata.json").read_text())
    assert metadata["id"] == f"player/{folder.name}" and metadata["code_file"] == f"{folder.name}.py"
    assert plan.slugify(metadata["title"]) == folder.name
    assert (metadata["is_private"], metadata["enable_internet"]) == (True, True)
    assert (metadata["enable_gpu"], metadata["enable_tpu"]) == (False, False) and "machine_shape" not in metadata
    assert metadata["competition_sources"] == [build.COMPETITION]

    script = (folder / f"{folder.name}.py").read_text()
    head = constants(script)
    assert (head["RECIPE"], head["FOLDS"], head["SET"]) == ("baseline_v1", [0, 1, 2], ["epochs=2", "batch_size=32"])
    assert (head["SEED"], head["ACCUMULATE"], head["COMPILE"]) == (4, None, True)
    assert head["TAG"] == "small" and head["LIMIT_MINUTES"] == 500.0 and head["ALLOW_CPU"] is False
    assert 'RECIPE = "baseline_v1"  # a recipe of fer_kit\n' in script
    assert script.index("RECIPE =") < script.index("def main") < script.index("BUNDLE = ")  # people first
    assert max(len(line) for line in script.splitlines()) <= 120
    [built] = push_log.read(Path("runs"))
    assert (built.run_id, built.state, built.ref) == (head["RUN_ID"], push_log.BUILT, metadata["id"])


def test_an_accelerator_is_written_and_a_second_build_replaces_the_first():
    made = build.make(planned("--title", "Two  of one"), {})
    assert made.metadata["machine_shape"] == "NvidiaTeslaT4" and made.metadata["enable_gpu"] is True
    folder = build.write(made)
    (folder / "left.txt").write_text("over")
    assert build.write(made) == folder == Path("kernels/build/two-of-one")
    assert not (folder / "left.txt").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["two-of-one"]


@pytest.mark.slow
def test_two_builds_differ_in_the_run_id_alone():
    first, second = (build.make(planned("--folds", "1"), {}) for _ in range(2))
    assert first.plan.run_id != second.plan.run_id
    assert first.script.replace(first.plan.run_id, second.plan.run_id) == second.script


@pytest.mark.slow
def test_dry_run_is_light_and_writes_nothing(tmp_path):
    program = f"""
import sys
from kernels.__main__ import main
assert main(["--help"]) == 0 and main(["push", "--help"]) == 0
assert main(["push", "--dry-run"]) == 0
print("loaded:", sorted({HEAVY!r} & set(sys.modules)))
"""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, env=environ)
    assert done.returncode == 0, done.stderr
    *_, last_but_one, last = done.stdout.splitlines()
    assert last == "loaded: []" and last_but_one == "dry run: nothing was written or pushed"
    assert "YOUR-ACCOUNT/fer-kit-air-folds-0-4, private, internet off" in done.stdout
    assert "accelerator  NvidiaTeslaT4 (2 × T4), stops before 500 minutes are over" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--recipe", "residul"], "no recipe 'residul' (did you mean 'residual'?)"),
        (["--set", "lr=1e-4"], "--set lr=1e-4 changes the recipe; name the changed run with --tag NAME"),
        (["--set", "model=nets:Small", "--tag", "x"], "--set model=nets:Small: a kernel does not include networks"),
        (["--set", "lr=fast", "--tag", "x"], "--set lr=fast: 'fast' is not of type float"),
        (["--set", "targets=soft.npz", "--tag", "x"], "--set targets=soft.npz: a kernel does not include"),
        (["--set", "augment=mine.yaml", "--tag", "x"], "augment='mine.yaml' is not NAME@ and 16 digits"),
        (["--augment", "v3"], "--augment v3 changes the recipe; name the changed run with --tag NAME"),
        (["--augment", "none.yaml", "--tag", "x"], "none.yaml: no such file; save a pipeline with albumentations"),
        (["--folds", "0-5"], "--folds 0-5: fold 5 does not exist; allowed are 0 to 4"),
        (["--folds", "4-0"], "--folds 4-0: 4-0 is descending; write 0-4"),
        (["--folds", "0,0-1"], "--folds 0,0-1: fold 0 occurs twice"),
        (["--folds", "all"], "--folds all: a kernel trains numbered folds, e.g. 0-4 or 0,2"),
        (["--folds", "x"], "--folds x: allowed are numbers and ranges, e.g. 0-4 or 0,2"),
        (["--accelerator", "NvidiaTeslaP100"], "--accelerator NvidiaTeslaP100: Kaggle has retired this GPU"),
        (["--accelerator", "TpuV38"], "fer_kit trains on GPUs and CPUs only"),
        (["--accelerator", "NvidiaTesla4"], "not known (did you mean 'NvidiaTeslaT4'?), and Kaggle silently replaces"),
        (["--limit-minutes", "5"], "--limit-minutes 5: give 15 to 690"),
        (["--title", "été à Kaggle"], "use ASCII letters, digits, spaces and hyphens, 5 to 50 of them"),
        (["--title", "a- b"], "use ASCII letters"),
        (["--weights", "timm/resnet"], "--weights timm/resnet: allowed are owner/model/framework/variation/version"),
        (["--weights", "/kaggle/input/nets/a.pth"], "allowed are owner/model/framework/variation/version"),
        (["--weights", "me/x/pytorch/y/1"], "changes the recipe; name the changed run with --tag NAME"),
        (["--owner", "../../etc"], "--owner '../../etc': account names have only ASCII letters, digits, - and _"),
        (["--resume", "a/b/c"], "--resume 'a/b/c': write OWNER/SLUG"),
        (["--title", "mine", "--resume", "player/mine-on-2"], "5 to 50 of them"),
        (
            ["--title", "again", "--resume", "player/again"],
            "--resume player/again: a kernel cannot continue its own output",
        ),
    ],
)
def test_refusals(argv, message, capsys):
    assert commands.main(["build", "--owner", "player", *argv]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not Path("kernels").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "kept", "models", "datasets"),
    [
        ("timm/resnet/pyTorch/resnet18/1", None, ["timm/resnet/pyTorch/resnet18/1"], []),
        ("timm/resnet/pyTorch/resnet18/1/a.bin", None, ["timm/resnet/pyTorch/resnet18/1"], []),
        ("datasets/me/nets/a/b.safetensors", None, [], ["me/nets"]),
        ("/kaggle/input/models/timm/x/pytorch/y/2", "timm/x/pytorch/y/2", ["timm/x/pytorch/y/2"], []),
        ("/kaggle/input/datasets/me/nets/b.pth", "datasets/me/nets/b.pth", [], ["me/nets"]),
        ("none", None, [], []),
    ],
)
def test_weights_are_attached_and_named_in_the_script(given, kept, models, datasets):
    plan = planned("--recipe", "timm/resnet50", "--tag", "x", "--weights", given)
    made = build.make(plan, {})
    assert (made.metadata["model_sources"], made.metadata["dataset_sources"]) == (models, datasets)
    assert constants(made.script)["WEIGHTS"] == plan.weights == (kept or given)
    assert constants(made.script)["RECIPE"] == "timm/resnet50" and plan.run == "timm_resnet50-x"
    assert plan.slug == "fer-kit-timm-resnet50-x-folds-0-4"


def test_the_hub_is_for_kernels_with_internet(capsys):
    assert planned("--recipe", "timm/resnet50", "--internet").weights is None
    assert planned("--recipe", "timm/resnet50", "--internet", "--weights", "hub").weights == "hub"
    assert commands.main(["build", "--owner", "player", "--recipe", "timm/resnet50"]) == 2
    assert "starts from weights of the hub, but the kernel has no internet" in capsys.readouterr().err


def test_a_file_at_home_does_not_travel(capsys):
    Path("w.pth").write_bytes(b"")
    assert commands.main(["build", "--owner", "player", "--tag", "x", "--weights", "w.pth"]) == 2
    assert "a kernel does not take files of this machine; " in capsys.readouterr().err


@pytest.fixture
def no_package(monkeypatch):
    """Nothing of the package in the script, which takes a second to compress."""
    monkeypatch.setattr(bundle, "make", lambda secrets: bundle.Bundle("x", "0" * 64, (), ()))


@pytest.mark.parametrize(("accelerator", "named"), [("none", ""), ("NvidiaL4", " --accelerator NvidiaL4")])
def test_the_command_that_pushes_by_hand_names_an_accelerator_that_kaggle_has(accelerator, named, no_package, capsys):
    words = ["--folds", "0", "--title", "mine again", "--accelerator", accelerator]
    assert commands.main(["build", "--owner", "player", *words]) == 0
    assert f"kaggle kernels push -p kernels/build/mine-again{named}; then python" in capsys.readouterr().out


@pytest.mark.parametrize("typed", ["v3", "mine.yaml", "elsewhere/mine.json"])
def test_a_pipeline_travels_byte_for_byte(typed, tmp_path, no_package):
    if typed != "v3":
        Path(typed).parent.mkdir(exist_ok=True)
        Path(typed).write_text(pipeline_file.text_of(pipeline_file.V3, typed.endswith("yaml")) + "\n")
    pushed = planned(*SMALL, "--augment", typed)
    built = build.make(pushed, {})
    assert f"augment      {pushed.augment.name}, in the script" in build.describe(built)
    head = constants(built.script)
    assert max(len(line) for line in built.script.splitlines()) <= 120
    there = Places(tmp_path, tmp_path, tmp_path / "work", tmp_path)
    there.work.mkdir()
    settings = Settings(**{name.lower(): head[name] for name in head["SETTINGS"].split()})
    assert run_name(settings, there, settings.runs[0]) == pushed.run
    words = session.options_for(settings, there, 2, settings.runs[0])
    assert words[-4:] == ["--augment", "v3.json" if typed == "v3" else Path(typed).name, "--workers", "2"]
    os.chdir(there.work)
    trained = resolve(train.request_of(train.build_parser().parse_args(["--fold", "0", *words])))
    assert trained.pipeline.name == pushed.augment.name


def test_a_pipeline_with_a_secret_or_damaged_is_refused(tmp_path, monkeypatch, no_package):
    Path("mine.yaml").write_text(pipeline_file.text_of(pipeline_file.V3, True) + "# planted-secret-key\n")
    monkeypatch.setenv("KAGGLE_KEY", "planted-secret-key")
    with pytest.raises(FerKitError, match=r"mine.yaml: holds the secret value of \$KAGGLE_KEY; remove it"):
        build.make(planned("--augment", "mine.yaml", "--tag", "x"), os.environ)
    with pytest.raises(FerKitError, match="the pipeline in this script is damaged"):
        pipeline.write(tmp_path / "x.yaml", "0" * 40)


def test_local_folds_decide_how_many_there_are():
    Path("runs").mkdir()
    Path("runs/folds.csv").write_bytes(fake_runs.TABLE)
    with pytest.raises(FerKitError, match="fold 3 does not exist; allowed are 0 to 2"):
        planned("--folds", "0-3")
    assert planned("--folds", "2,0").folds == (2, 0)


def test_titles_tell_kernels_apart():
    assert plan.default_title("residual", (0, 1, 2), None) == "fer-kit-residual folds 0-2"
    assert plan.default_title("residual", (3,), "me/fer-kit-residual-folds-0-4") == "fer-kit-residual fold 3 on 2"
    assert plan.default_title("residual", (3,), "me/fer-kit-residual-fold-3-on-2") == "fer-kit-residual fold 3 on 3"
    long = [plan.default_title(f"timm_convnext_atto-{'x' * 60}{end}", (0, 2, 4), None) for end in "ab"]
    assert len(set(long)) == 2 and all(plan.check_title(title) for title in long)


@pytest.mark.slow
def test_the_size_cap(monkeypatch, capsys):
    size = build.make(planned(), {}).size_bytes
    assert size < 400_000  # far below the cap: room for what is still to come
    monkeypatch.setattr(build, "SIZE_WARNING", size - 1000)
    assert commands.main(["build", "--owner", "player", "--dry-run"]) == 0
    assert "warning: the script is near the limit of 1,000,000 bytes" in capsys.readouterr().out
    monkeypatch.setattr(build, "SIZE_CAP", size - 1000)
    assert commands.main(["build", "--owner", "player"]) == 2
    assert f"and Kaggle accepts less than {size - 1000:,}; upload the large" in capsys.readouterr().err


def test_a_secret_in_the_arguments_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("KAGGLE_KEY", "planted-secret-key")
    assert commands.main(["build", "--owner", "player", "--title", "planted-secret-key"]) == 2
    error = capsys.readouterr().err
    assert "the script: holds the secret value of $KAGGLE_KEY; remove it" in error
    assert "planted-secret-key" not in error
    assert not Path("kernels").exists() and not Path("runs").exists()


@pytest.mark.slow
def test_build_and_explore_need_no_credentials(capsys):
    """The metadata have a placeholder in place of the account, and the command says so; fetch knows the account."""
    assert commands.main(["build", *SMALL, "--folds", "0"]) == 0
    told = capsys.readouterr().out
    folder = Path("kernels/build/fer-kit-baseline-v1-small-fold-0")
    assert f"write your Kaggle account in place of YOUR-ACCOUNT in {folder}/kernel-metadata.json" in told
    assert json.loads((folder / "kernel-metadata.json").read_text())["id"] == f"YOUR-ACCOUNT/{folder.name}"
    assert commands.main(["explore"]) == 0
    assert "write your Kaggle account in place of YOUR-ACCOUNT" in capsys.readouterr().out
    assert commands.main(["push", *SMALL]) == 2
    assert commands.main(["explore", "--push"]) == 2

    class Known:
        def user(self) -> str:
            return "player"

    [built] = push_log.read(Path("runs"))
    assert commands.owned(Known(), built).ref == f"player/{folder.name}"


def plans(*argv: str) -> list[plan.Plan]:
    return plan.of(parsed("build", *argv), "player")


def test_the_plan_of_a_sweep_is_one_kernel():
    asked = ["--recipes", "vgg_small", "residual", "--seeds", "0", "1", "--folds", "every", "--set", "epochs=2"]
    settings = ["--settings", "a", "lr=1e-3", "--settings", "b", "lr=2e-3"]
    [made] = plans(*asked, *settings, "--tag", "t", "--wandb", "offline")
    assert len(made.runs) == 8 and made.runs[0] == ("vgg_small-t-a", (0, 1, 2, 3, 4))
    assert made.runs[-1][0] == "residual-t-b-seed1"
    head = constants(build.fill(build.TEMPLATE.read_text(), made, bundle.Bundle("", "", (), ())))
    assert head["WANDB"] == "offline" and len(head["MORE"]) == 7
    assert head["MORE"][0] == {
        "recipe": "vgg_small",
        "set": ["epochs=2", "lr=2e-3"],
        "tag": "t-b",
        "seed": None,
        "folds": [0, 1, 2, 3, 4],
    }
    Path("plan.toml").write_text('recipes = ["vgg_small", "residual"]\nseeds = [0, 1]\nfolds = "0-1"\n')
    [made] = plans("--plan", "plan.toml")
    assert [name for name, _ in made.runs] == ["vgg_small", "vgg_small-seed1", "residual", "residual-seed1"]
    assert made.runs[0][1] == (0, 1)


def test_parts_share_the_work():
    parts = plans("--recipes", "vgg_small", "residual", "--parts", "3")
    trained = sorted((run, fold) for part in parts for run, folds in part.runs for fold in folds)
    assert trained == sorted((run, fold) for run in ("vgg_small", "residual") for fold in range(5))
    assert len({part.ref for part in parts}) == 3 and all(part.runs for part in parts)
    halves = plans(
        "--recipes", "vgg_small", "residual", "--set", "epochs=9", "--tag", "t", "--seeds", "0", "1", "--parts", "2"
    )
    assert [len(part.runs) for part in halves] == [3, 2]  # vgg_small needs less: its two runs and one fold of residual
    [second] = plans("--recipes", "vgg_small", "residual", "--parts", "3", "--part", "2")
    assert (second.ref, second.runs) == (parts[1].ref, parts[1].runs)
    for argv, message in (
        (["--parts", "6"], "--parts 6: give 1 to 5"),
        (["--parts", "2", "--part", "3"], "--part 3: give 1 to 2"),
        (["--recipes", "vgg_small", "vgg_small"], "two runs of the plan would both be vgg_small"),
        (["--plan", "x.toml", "--recipes", "vgg"], "--plan x.toml with --recipes: write recipes into the file"),
    ):
        with pytest.raises(FerKitError, match=message):
            plans(*argv)


@pytest.mark.slow
def test_a_damaged_script_stops_before_it_unpacks(tmp_path):
    made = build.make(planned(), {})
    cut = made.script.replace(bundle.make({}).text[:40], "0" * 40)
    (tmp_path / "cut.py").write_text(cut)
    done = subprocess.run([sys.executable, "-I", "cut.py"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == "error: the package in this script is damaged (another sha256); build and push it again\n"


def test_every_accelerator_is_described():
    assert accelerators.DEFAULT in accelerators.KNOWN
    assert all(str(accelerators.get(name)) for name in accelerators.KNOWN)


def test_built_kernels_are_neither_committed_nor_packaged():
    ignored = ROOT / "kernels/build/x/x.py"
    done = subprocess.run(["git", "check-ignore", str(ignored)], capture_output=True, cwd=ROOT)
    assert done.returncode in (0, 128)  # 128: not a checkout
    assert "\n    kernels\n" in (ROOT / "setup.cfg").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "model", "more"),
    [
        ("timm/vit_base_patch16_clip_224", "player/clip/pyTorch/vit-b-16/1", ["--accumulate", "2"]),
        ("timm/vit_large_patch14_clip_224", "player/clip/pyTorch/vit-l-14/1", ["--accelerator", "NvidiaTeslaA100"]),
        ("timm/convnextv2_base", "player/convnextv2/pyTorch/base/1", []),
        ("timm/tf_efficientnetv2_s", "player/efficientnetv2/pyTorch/s/1", []),
    ],
)
def test_large_networks_are_pushed_with_their_weights_in_one_command(
    recipe, model, more, kaggle_site, monkeypatch, capsys
):
    kaggle_site.cli_environ(monkeypatch)
    words = ["push", "--recipe", recipe, "--weights", model, "--tag", "kaggle", *more]
    assert commands.main(words) == 0
    assert "version 1" in capsys.readouterr().out
    [[version]] = kaggle_site.kernels.values()
    assert version.request["modelDataSources"] == [model]
    written = constants(version.source)
    assert written["WEIGHTS"] == model and "--internet" not in words
