"""Write the folder of a kernel for `kaggle kernels push`: kernel-metadata.json and one script."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fer_kit.errors import FerKitError
from fer_kit.files import atomic, lock
from fer_kit.kaggle import secret_values
from fer_kit.kaggle.client import COMPETITION
from kernels import bundle, leaks
from kernels.inside import accelerators, fold_table, pipeline, weights
from kernels.plan import Plan

SIZE_CAP, SIZE_WARNING = 1_000_000, 900_000  # Kaggle's limit for a script, in bytes, and when to warn
FOLDER = Path("kernels/build")
METADATA = "kernel-metadata.json"
TEMPLATE = Path(__file__).with_name("script_template.py")
_LINE = 118  # characters of encoded data in a line


@dataclass(frozen=True)
class Built:
    """A kernel as the texts of its files."""

    plan: Plan
    metadata: dict[str, Any]
    script: str
    bundle_sha256: str
    bundled: tuple[str, ...]
    untracked: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """Size of the script as it is uploaded."""
        return len(self.script.encode())


def make(plan: Plan, environ: Mapping[str, str]) -> Built:
    """Bundle the package and fill in the script, without writing files.

    Raises:
        FerKitError: the script is larger than Kaggle accepts, or contains a secret.
    """
    secrets = secret_values.known(environ)
    packed = bundle.make(secrets)
    if plan.augment is not None:  # checked here, since the script contains the file compressed
        leaks.refuse(plan.augment.written, plan.augment.where, secrets)
    script = fill(TEMPLATE.read_text(encoding="utf-8"), plan, packed)
    built = Built(plan, metadata_of(plan), script, packed.sha256, packed.files, packed.untracked)
    for name, text in (("the script", script), (METADATA, json.dumps(built.metadata))):
        leaks.refuse(text.encode(), name, secrets)
    if built.size_bytes >= SIZE_CAP:
        raise FerKitError(
            f"the script has {built.size_bytes:,} bytes and Kaggle accepts less than {SIZE_CAP:,}; "
            "upload the large files of the package as a Kaggle dataset"
        )
    return built


def fill(template: str, plan: Plan, packed: bundle.Bundle) -> str:
    """Fill the template with the values of this push."""
    which = "; ".join(
        f"run {run}, fold{'s' * (len(folds) > 1)} {', '.join(map(str, folds))}" for run, folds in plan.runs
    )
    script = template.replace("@TITLE@", "\n".join(textwrap.wrap(f"{plan.title}: {which}.", _LINE)))
    values: dict[str, Any] = {
        "RECIPE": plan.recipe,
        "FOLDS": list(plan.folds),
        "SET": list(plan.settings),
        "TAG": plan.tag,
        "SEED": plan.seed,
        "ACCUMULATE": plan.accumulate,
        "BATCH_SIZE": plan.batch_size,
        "COMPILE": plan.compile,
        "WANDB": plan.wandb,
        "MORE": [
            {
                "recipe": one.recipe,
                "set": list(one.settings),
                "tag": one.tag,
                "seed": one.seed,
                "folds": list(one.folds),
            }
            for one in plan.more
        ],
        "LIMIT_MINUTES": plan.limit_minutes,
        "ACCELERATOR": plan.accelerator,
        "WEIGHTS": plan.weights,
        "AUGMENT": plan.augment and plan.augment.file_name,
        "EARLIER": plan.earlier,
        "RUN_ID": plan.run_id,
        "COMMIT": plan.commit,
        "BUNDLE_SHA256": packed.sha256,
        "FOLDS_DIGEST": plan.table and plan.table.digest,
    }
    for name, value in values.items():
        script = _put(script, name, literal(value))
    script = _put(script, "FOLDS_TABLE", _wrapped(fold_table.encode(plan.table)) if plan.table else '""')
    script = _put(script, "AUGMENT_FILE", _wrapped(pipeline.encode(plan.augment)) if plan.augment else '""')
    return _put(script, "BUNDLE", _wrapped(packed.text))


def metadata_of(plan: Plan) -> dict[str, Any]:
    """The content of kernel-metadata.json, with all booleans, since the client's defaults differ from its manual."""
    with_gpu = plan.accelerator != accelerators.NONE
    models, datasets = weights.sources(plan.weights)
    return {
        "id": plan.ref,
        "title": plan.title,
        "code_file": f"{plan.slug}.py",
        "language": "python",
        "kernel_type": "script",
        "is_private": True,
        "enable_gpu": with_gpu,
        "enable_tpu": False,
        "enable_internet": plan.internet,
        **({"machine_shape": plan.accelerator} if with_gpu else {}),
        "competition_sources": [COMPETITION],
        "dataset_sources": datasets,
        "kernel_sources": [plan.earlier] if plan.earlier else [],
        "model_sources": models,
        "keywords": [],
    }


def write(built: Built, folder: Path = FOLDER) -> Path:
    """Write the kernel's folder below `folder`, replacing an older one as a whole; return its path.

    Raises:
        FerKitError: the folder cannot be written, or another process writes this kernel.
    """
    target = folder / built.plan.slug
    with lock.held(target, "another process builds this kernel"):
        atomic.sweep(folder, target.name)
        with atomic.replacing_folder(target) as new:
            atomic.write_text(new / f"{built.plan.slug}.py", built.script)
            atomic.write_json(new / METADATA, built.metadata)
    return target


def describe(built: Built) -> str:
    """A summary of the kernel in a few lines."""
    plan = built.plan
    folds = (
        f"local folds, in the script (digest {plan.table.digest[:12]})"
        if plan.table
        else "made in the kernel (there is no folds.csv here)"
    )
    parts = [
        f"trains       run {run}, folds {', '.join(map(str, numbers))}"
        + (f", changed: {' '.join(settings)}" if settings else "")
        for (run, numbers), settings in zip(
            plan.runs, (plan.settings, *(part.settings for part in plan.more)), strict=True
        )
    ]
    lines = [
        f"kernel       {plan.ref}, private, internet {'on' if plan.internet else 'off'}",
        *parts,
        f"accelerator  {plan.accelerator} ({accelerators.get(plan.accelerator)}), "
        f"stops before {plan.limit_minutes:g} minutes are over",
        f"folds        {folds}",
        f"script       {built.size_bytes:,} bytes of {SIZE_CAP:,}; {len(built.bundled)} source files, "
        f"sha256 {built.bundle_sha256[:12]}, commit {plan.commit.partition(' ')[0][:20]}",
        f"run id       {plan.run_id}",
    ]
    if built.untracked:
        lines.append(f"warning: git does not track {', '.join(built.untracked)}, which is uploaded too")
    if plan.earlier:
        lines.insert(2, f"continues    the output of {plan.earlier}")
    if plan.augment:
        lines.insert(2, f"augment      {plan.augment.name}, in the script")
    if plan.weights:
        lines.insert(2, f"weights      {plan.weights}")
    if built.size_bytes >= SIZE_WARNING:
        lines.append(f"warning: the script is near the limit of {SIZE_CAP:,} bytes")
    return "\n".join(lines)


def literal(value: Any) -> str:
    """A string, a list, a number or None as Python source, with double quotes for texts and lists of texts."""
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        return "[\n" + "".join(f"    {_record(one)},\n" for one in value) + "]"
    return json.dumps(value) if isinstance(value, str | list) else repr(value)


def _record(record: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {literal(value)}" for name, value in record.items()) + "}"


def _put(script: str, name: str, value: str) -> str:
    """Replace the value in the line `NAME = value` of the template; annotation and comment stay."""
    pattern = re.compile(rf"^({name}(?:: [^=\n]+)?) = [^#\n]*?(  # .*)?$", re.MULTILINE)
    filled, count = pattern.subn(lambda found: f"{found[1]} = {value}{found[2] or ''}", script)
    assert count == 1, f"{name} occurs {count} times in the template"
    return filled


def _wrapped(text: str) -> str:
    return '"""\n' + "\n".join(textwrap.wrap(text, _LINE, break_on_hyphens=False)) + '\n"""'
