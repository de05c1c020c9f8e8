"""@TITLE@

This script trains folds of fer_kit (Facial Expression Recognition Challenge) on Kaggle and writes an archive of run
folders and manifest.json. `python -m kernels build` made the script; `python -m kernels fetch` downloads the results.
The end of this file contains the package as text, so the script needs no other file and no internet.
"""

import base64
import hashlib
import io
import lzma
import os
import sys
import tarfile
import tempfile

# --- Settings that you may change ----------------------------------------------------------------------------------
RECIPE = ""  # a recipe of fer_kit
FOLDS: list[int] = []  # folds to train, from 0
SET: list[str] = []  # changed settings, e.g. ["lr=5e-4", "epochs=60"]; needs a TAG
TAG: str | None = None  # names the changed run: <recipe>-<tag>
SEED: int | None = None  # another seed than that of the recipe; gives a separate run
ACCUMULATE: int | None = None  # divide the batch of each step into this many parts to save memory; needs a TAG
BATCH_SIZE: int | None = None  # images per step; learning rate, decay and average are scaled with them; needs a TAG
COMPILE = False  # torch.compile the network
WANDB = ""  # off, or offline: write files of Weights & Biases into the run folders, for `wandb sync` after the fetch
MORE: list[dict[str, object]] = []  # further runs, each with "recipe", "set", "tag", "seed" and "folds"
LIMIT_MINUTES = 0.0  # all results are saved before this time is over; sessions end after 9 to 12 hours
ALLOW_CPU = False  # train on the CPU if the requested GPU is missing

# --- Description of this push; do not change -----------------------------------------------------------------------
ACCELERATOR = ""  # accelerator in the metadata; checked at the start
WEIGHTS: str | None = None  # initial weights: an attached model or dataset, hub or none; None = those of the recipe
AUGMENT: str | None = None  # pipeline of albumentations in place of the recipe's augmentation; its file is below
EARLIER: str | None = None  # attached kernel (owner/slug) whose unfinished run is continued
RUN_ID = ""  # identifies the output of this push for `fetch`
COMMIT = ""  # commit of the code below
BUNDLE_SHA256 = ""
# Digest of the local folds in this script; without local folds the kernel makes folds.
FOLDS_DIGEST: str | None = None

SETTINGS = (
    "RECIPE FOLDS SET TAG SEED ACCUMULATE COMPILE LIMIT_MINUTES ALLOW_CPU ACCELERATOR WEIGHTS AUGMENT EARLIER RUN_ID "
    "COMMIT BUNDLE_SHA256 FOLDS_DIGEST FOLDS_TABLE AUGMENT_FILE BATCH_SIZE WANDB MORE"
)


def main() -> int:
    """Check and unpack the package, add it to the path of this process and its children, and start the session."""
    packed = base64.b85decode("".join(BUNDLE.split()))
    if hashlib.sha256(packed).hexdigest() != BUNDLE_SHA256:
        print("error: the package in this script is damaged (another sha256); build and push it again")
        return 1
    with tempfile.TemporaryDirectory(prefix="fer_kit-code-", ignore_cleanup_errors=True) as code:
        with tarfile.open(fileobj=io.BytesIO(lzma.decompress(packed))) as archive:
            archive.extractall(code, filter="data")
        sys.path.insert(0, code)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [code, os.environ.get("PYTHONPATH")]))
        from pathlib import Path

        from kernels.inside import session

        return session.main({name.lower(): globals()[name] for name in SETTINGS.split()}, Path(code))


# --- The folds (group and fold of each train row, no label), the pipeline, then the package: text, compressed --------
FOLDS_TABLE = ""

AUGMENT_FILE = ""

BUNDLE = ""

if __name__ == "__main__":
    sys.exit(main())
