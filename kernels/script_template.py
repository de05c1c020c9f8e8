"""@TITLE@

Trains folds of fer_kit (Facial Expression Recognition Challenge) on Kaggle and leaves one archive of run folders and
manifest.json. Built by `python -m kernels build`; bring the results home with `python -m kernels fetch`.
The package itself travels at the end of this file, as text: no other file and no internet is needed.
"""

import base64
import hashlib
import io
import lzma
import os
import sys
import tarfile
import tempfile

# --- Settings that a person may change -----------------------------------------------------------------------------
RECIPE = ""  # a recipe of fer_kit
FOLDS: list[int] = []  # which folds to train, from 0
SET: list[str] = []  # changed settings, e.g. ["lr=5e-4", "epochs=60"]; needs a TAG
TAG: str | None = None  # names the changed run: <recipe>-<tag>
SEED: int | None = None  # another seed than the recipe's, as a run of its own
ACCUMULATE: int | None = None  # cut each step's batch in so many parts, to save memory; needs a TAG
COMPILE = False  # torch.compile the network
LIMIT_MINUTES = 0.0  # everything is saved before this time is over; sessions end after 9 to 12 hours
ALLOW_CPU = False  # train on the CPU where the GPU that was asked for is missing

# --- What this push is; leave it as it is --------------------------------------------------------------------------
ACCELERATOR = ""  # what the metadata asks for; checked first thing
WEIGHTS: str | None = None  # what is trained on from: an attached model or dataset, hub, none; else the recipe's
AUGMENT: str | None = None  # pipeline of albumentations in place of the recipe's augmentation; its file is below
EARLIER: str | None = None  # attached kernel (owner/slug) whose unfinished run goes on here
RUN_ID = ""  # how `fetch` knows the output of this push
COMMIT = ""  # of the code below
BUNDLE_SHA256 = ""
# Of the folds sent along; without them they are made here.
FOLDS_DIGEST: str | None = None

SETTINGS = (
    "RECIPE FOLDS SET TAG SEED ACCUMULATE COMPILE LIMIT_MINUTES ALLOW_CPU ACCELERATOR WEIGHTS AUGMENT EARLIER RUN_ID "
    "COMMIT BUNDLE_SHA256 FOLDS_DIGEST FOLDS_TABLE AUGMENT_FILE"
)


def main() -> int:
    """Check and unpack the package, put it on the path of this process and of its children, and start."""
    packed = base64.b85decode("".join(BUNDLE.split()))
    if hashlib.sha256(packed).hexdigest() != BUNDLE_SHA256:
        print("error: the package in this script is damaged (another sha256); build and push it again")
        return 1
    with tempfile.TemporaryDirectory(prefix="fer_kit-code-") as code:
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
