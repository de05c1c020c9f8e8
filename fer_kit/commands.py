"""The table of commands: what `fer-kit NAME` runs. For the dispatcher and for shell completion."""

from __future__ import annotations

# name: (module with main(argv) and build_parser(), what the command does)
COMMANDS = {
    "download": ("fer_kit.download", "fetch the competition's files from Kaggle"),
    "synthetic": ("fer_kit.synthetic.__main__", "draw a competition to try everything on"),
    "explore": ("fer_kit.explore.__main__", "look at the data: classes, copies, twins, faces"),
    "folds": ("fer_kit.folds.__main__", "find twins and deal the train rows into folds"),
    "recipes": ("fer_kit.listing.recipes", "list the recipes: size, time, measured accuracy; networks of timm"),
    "settings": ("fer_kit.listing.settings", "list the settings of train --set: default, range, description"),
    "train": ("fer_kit.train.__main__", "train one fold of a recipe, or several"),
    "sweep": ("fer_kit.sweep.__main__", "train many recipes, seeds, settings and folds"),
    "auto": ("fer_kit.auto.__main__", "go from the data to a checked submission within a given time"),
    "runs": ("fer_kit.listing.runs", "list the runs; delete or rename one"),
    "pipelines": ("fer_kit.pipelines", "save and show albumentations pipelines, for train --augment"),
    "predict": ("fer_kit.predict.__main__", "predict finished folds again with other test-time views"),
    "blend": ("ensembles.blend", "blend finished runs"),
    "targets": ("ensembles.targets", "make soft targets, from earlier runs or by the network that ships"),
    "twin-gain": ("ensembles.twin_gain", "measure out of fold what the labels of train twins add to a run"),
    "explain": ("fer_kit.explain.__main__", "show where a network looks: class activation and attention maps"),
    "track": ("fer_kit.track.__main__", "send finished runs and blends to Weights & Biases"),
    "evaluate": ("fer_kit.evaluate.__main__", "score runs and blends out of fold, alone or side by side"),
    "report": ("fer_kit.report.__main__", "make one page on all runs and blends"),
    "classify": ("fer_kit.classify.__main__", "find faces in photos and classify their expressions"),
    "export": ("fer_kit.export.__main__", "export a run or blend: ONNX, torch.export, or one file of fer_kit"),
    "card": ("fer_kit.card.__main__", "write a model card, with scores, data and limits; upload it"),
    "kernels": ("kernels.__main__", "train on Kaggle's GPUs and fetch the runs"),
    "submissions": ("submissions.__main__", "build, check and upload the submission file; the ledger"),
    "completion": ("fer_kit.listing.completion", "print the completion script for bash or zsh"),
}
