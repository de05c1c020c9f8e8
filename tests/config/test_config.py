"""TrainConfig and recipes: typed overrides, one digest, and errors that say what to do."""

from __future__ import annotations

import dataclasses
import json

import pytest

from fer_kit.config import recipes
from fer_kit.config.networks import NETWORKS
from fer_kit.config.settings import REPLACED_BY_PIPELINE, TABLE, deciding
from fer_kit.config.train_config import TrainConfig, from_json, override, used
from fer_kit.errors import FerKitError


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_survives_json_and_keeps_its_digest(name):
    recipe = recipes.get(name)
    again = from_json(json.loads(json.dumps(recipe.to_json())), "config.json")
    assert again == recipe
    assert again.digest == recipe.digest


def test_recipes_differ_in_their_digests_and_names():
    assert len({recipe.digest for recipe in recipes.RECIPES.values()}) == len(recipes.RECIPES)
    assert all(recipe.recipe == name for name, recipe in recipes.RECIPES.items())


def test_the_config_knows_every_network():
    assert TABLE["model"].choices == tuple(NETWORKS)


def test_the_study_recipes_are_those_of_the_study():
    """The table of the design, field by field."""
    study = {
        "baseline_v1": ("adam", 1e-3, 0.0, 64, 20, "constant"),
        "baseline_v2": ("adam", 5e-4, 1e-4, 64, 50, "plateau"),
        "deep_v1": ("adam", 1e-3, 1e-4, 64, 40, "constant"),
        "deep_v2": ("adam", 1e-3, 1e-4, 64, 30, "plateau"),
        "deep_v3": ("adam", 1e-3, 1e-4, 64, 30, "plateau"),
        "attention": ("adamw", 1e-3, 1e-4, 64, 50, "plateau"),
    }
    for name, expected in study.items():
        r = recipes.get(name)
        assert (r.optimizer, r.lr, r.weight_decay, r.batch_size, r.epochs, r.schedule) == expected
        assert r.early_stop_epochs > 0
        assert r.decay_norms
    assert recipes.get("baseline_v2").early_stop_epochs == 5
    assert (recipes.get("deep_v2").early_stop_epochs, recipes.get("deep_v2").plateau_patience_epochs) == (7, 3)
    v3 = recipes.get("deep_v3")
    assert (v3.rotation_deg, v3.flip_prob, v3.shift_frac, v3.scale_frac, v3.erase_prob) == (15.0, 0.5, 0.1, 0.1, 0.1)
    assert v3.shear_deg > 0 and v3.brightness_frac > 0 and v3.contrast_frac > 0
    assert recipes.get("attention").flip_prob == 0.5 and recipes.get("attention").rotation_deg > 0


def test_the_default_recipe_is_modern():
    modern = recipes.get(recipes.DEFAULT)
    assert (modern.optimizer, modern.schedule, modern.early_stop_epochs) == ("adamw", "cosine", 0)
    assert min(modern.warmup_epochs, modern.average_decay, modern.label_smoothing, modern.erase_prob) > 0
    assert not modern.watches  # trains on every row of the other folds


def test_overrides_are_typed():
    changed = override(recipes.get("attention"), ["lr=1e-4", "epochs=3", "decay_norms=false", "loss=focal"])
    assert (changed.lr, changed.epochs, changed.decay_norms, changed.loss) == (1e-4, 3, False, "focal")
    assert changed.digest != recipes.get("attention").digest
    assert override(recipes.get("attention"), ["lr=0.001"]).digest == recipes.get("attention").digest


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("lr", r"--set lr: '=' is missing; .* --set lr=1e-4"),
        ("learning_rate=1", r"--set learning_rate: no such setting \(did you mean 'lr'\?\); .*fer-kit settings"),
        ("Batch-Size=1", r"did you mean 'batch_size'"),
        ("mixup=0.2", r"did you mean 'mixup_alpha'"),
        ("zzz=1", r"--set zzz: no such setting; "),
        ("epoch=3", r"--set epoch: no such setting \(did you mean 'epochs'\?\)"),
        ("epochs=3.5", r"--set epochs=3.5: '3.5' is not of type int; give an int from 1 to 10000"),
        ("epochs=0", r"epochs=0 is out of range; give an int from 1 to 10000"),
        ("lr=fast", r"--set lr=fast: 'fast' is not of type float"),
        ("lr=nan", r"lr=nan is out of range"),
        ("lr=0", r"lr=0.0 would train nothing"),
        ("decay_norms=yes", r"'yes' is not of type bool; give true or false"),
        ("loss=focl", r"loss='focl' is not one of cross_entropy, focal \(did you mean 'focal'\?\)"),
        ("recipe=deep_v1", r"--set recipe=.* with --recipe"),
        ("flip_prob=2", r"flip_prob=2.0 is out of range; give a float from 0.0 to 1.0"),
    ],
)
def test_bad_overrides_are_refused_in_one_line(setting, message):
    with pytest.raises(FerKitError, match=message) as error:
        override(recipes.get("residual"), [setting])
    assert "\n" not in str(error.value)


def test_a_setting_given_twice_is_refused():
    with pytest.raises(FerKitError, match="--set lr is given twice"):
        override(recipes.get("residual"), ["lr=1", "lr=2"])


@pytest.mark.parametrize("weights", ["balanced", "effective"])
def test_weights_together_with_the_balanced_sampler_are_refused(weights):
    with pytest.raises(FerKitError, match="predicts Disgust too often; set loss_weights=none or sampler=shuffle"):
        override(recipes.get("residual"), [f"loss_weights={weights}", "sampler=balanced"])


def test_freezing_random_weights_is_refused_with_the_settings():
    """So that --dry-run says it, too."""
    with pytest.raises(FerKitError, match="freeze_epochs=1 would freeze random weights; give --weights, or set"):
        override(recipes.get("timm/resnet50"), ["weights="])


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(
        FerKitError, match=r"no recipe 'atention' \(did you mean 'attention'\?\); there are: baseline_v1"
    ):
        recipes.get("atention")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochz": 3}, r"c.json: unknown setting 'epochz' \(did you mean 'epochs'\?\)"),
        ({"lr": "1e-3"}, r"c.json: lr='1e-3' is not of type float"),
        ({"epochs": True}, r"c.json: epochs=True is not of type int"),
        ({"lr": None}, r"c.json: lr=None is not of type float"),
    ],
)
def test_a_bad_record_is_refused(change, message):
    with pytest.raises(FerKitError, match=message):
        from_json(recipes.get("residual").to_json() | change, "c.json")


def test_a_record_with_gaps_or_of_another_kind_is_refused():
    record = recipes.get("residual").to_json()
    del record["lr"]
    with pytest.raises(FerKitError, match=r"c.json: settings are missing \(lr\)"):
        from_json(record, "c.json")
    with pytest.raises(FerKitError, match="c.json: a config is a JSON object, not list"):
        from_json([], "c.json")


def test_the_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipes.get("residual").lr = 1.0  # type: ignore[misc]


def test_every_number_has_a_range():
    for name, row in TABLE.items():
        assert (row.limits is not None) == (row.kind in (int, float)), name
        assert bool(row.choices) == (row.kind is str and name != "recipe" and not row.file_option), name
    assert TrainConfig(recipe="x", model="deep_v1", epochs=1).model == "deep_v1"


def test_the_rows_are_consistent():
    for name, row in TABLE.items():
        assert row.about.endswith(".") and row.section, name
        assert row.neutral is None or type(row.neutral) is row.kind, name
        assert not row.omitted_when_default or row.neutral in (None, row.default), name
        assert all(deciding(condition) in TABLE for condition in row.used_when), name
        assert not row.replaced_by_pipeline or row.neutral == 0.0, name
    assert "flip_prob" in REPLACED_BY_PIPELINE and "edges" not in REPLACED_BY_PIPELINE


def test_a_setting_that_came_later_is_recorded_only_where_it_is_used():
    recipe = recipes.get("residual")
    added = [row for row in TABLE.values() if row.omitted_when_default]
    assert all(getattr(recipe, row.name) == row.default for row in added)
    assert len(added) > 10 and not {row.name for row in added} & set(recipe.to_json())
    clipped = override(recipe, ["grad_clip_norm=1.0"])
    assert clipped.to_json() == {**recipe.to_json(), "grad_clip_norm": 1.0} and clipped.digest != recipe.digest
    assert from_json(clipped.to_json(), "c.json") == clipped


NO_WARP = ("rotation_deg=0", "shift_frac=0", "scale_frac=0", "brightness_frac=0", "contrast_frac=0")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["weights=resnet.pth"], r"weights='resnet.pth' .* as --weights FILE"),
        (["augment=mine.yaml"], r"augment='mine.yaml' .* as --augment FILE"),
        (["average_epochs=5"], r"average_decay=0.998 and average_epochs=5 are two averages .* set one of them to 0"),
        (["progressive_px=96", "image_px=64"], r"progressive_px=96 grows to image_px=64; give a larger image_px"),
        (["progressive_px=64", "image_px=64"], r"progressive_px=64 grows to image_px=64; give a larger image_px"),
        (
            ["augment=v3@0123456789abcdef", "rotation_deg=0", "shift_frac=0", "scale_frac=0", "brightness_frac=0"],
            r"takes the place of flip_prob, contrast_frac; set flip_prob=0 contrast_frac=0 too",
        ),
        (["alternate_flip=true"], r"alternate_flip=true with flip_prob=0.5 .*set flip_prob=0"),
        (
            ["model=air", "progressive_px=32", "augment=v3@0123456789abcdef", "flip_prob=0", *NO_WARP],
            r"progressive_px=32 with augment=v3@0123456789abcdef: .*48 pixels; set progressive_px=0",
        ),
        (["model=timm/resnet 50"], r"model='timm/resnet 50' is not one of"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, words):
    with pytest.raises(FerKitError, match=words):
        override(recipes.get("residual"), settings)


def test_any_timm_name_may_be_a_model():
    assert override(recipes.get("residual"), ["model=timm/resnet50.a1_in1k"]).model == "timm/resnet50.a1_in1k"


def test_your_own_network_may_be_a_model():
    assert override(recipes.get("residual"), ["model=nets.small:Net"]).model == "nets.small:Net"
    for bad in ("nets.small", "nets:", ":Net", "nets/small:Net", "1net:Net", "nets.small:Net()"):
        with pytest.raises(FerKitError, match="is not one of baseline_v1, .*, timm/NAME or package.module:Class"):
            override(recipes.get("residual"), [f"model={bad}"])


def test_only_settings_with_an_effect_are_used():
    recipe = recipes.get("residual")
    names = [name for name, _, _ in used(recipe, recipe)]
    assert {"momentum", "warmup_epochs", "edges", "seed", "mixup_alpha"} <= set(names)
    assert not {"focal_gamma", "plateau_factor", "watch_frac", "cutmix_alpha", "erase_prob", "augment"} & set(names)
    changed = override(recipe, ["mixup_alpha=0", "loss=focal"])
    shown = {name: (value, before) for name, value, before in used(changed, recipe)}
    assert shown["mixup_alpha"] == (0.0, 0.2) and shown["focal_gamma"] == (2.0, 2.0)
