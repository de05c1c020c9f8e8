"""Access to Kaggle through the `kaggle` program as a subprocess, with typed answers and errors.

An exit code of 0 does not mean success, so the output is parsed and downloaded files are checked.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import random as _random
import re
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from fer_kit.competition import COMPETITION
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.kaggle import answers, credentials, faults, output
from fer_kit.kaggle.answers import KernelState, Limits, Pushed, Submission
from fer_kit.kaggle.errors import AnswerLost, OutputIncomplete, PushRefused, TimedOut, UploadFailed
from fer_kit.kaggle.faults import TRANSIENT, Subject, rules_url
from fer_kit.kaggle.program import Answer, Program, Timeouts

__all__ = ["COMPETITION", "RULES_URL", "Client", "KernelState", "Limits", "Pushed", "Submission", "Timeouts"]

RULES_URL = rules_url(COMPETITION)

_PAGE_SIZE = "200"  # the largest that the server allows
_sleep = time.sleep  # tests that run whole commands replace this function


class Client:
    """Runs the kaggle program; every method raises a `fer_kit.kaggle.errors.KaggleError` if it fails.

    Reading is repeated after transient failures (rate limits, server errors, web pages instead of data, lost
    connections), but not after refusals; a push only if Kaggle certainly did not receive it; a submission never.

    Args:
        environ: the environment with the credentials; default: os.environ.
        sleep: called with the seconds of a pause between attempts.
        random: returns numbers from 0 to 1 for random differences of pauses.
        timeouts: time limits and number of attempts.
    """

    def __init__(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        sleep: Callable[[float], None] | None = None,
        random: Callable[[], float] = _random.random,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._timeouts = timeouts or Timeouts()
        self._program = Program(os.environ if environ is None else environ, sleep or _sleep, random, self._timeouts)

    def user(self) -> str:
        """The account name of the credentials; a request is sent only if the credentials are a token.

        Raises:
            NoCredentials: no credentials are set, or Kaggle refuses them.
        """
        given = credentials.find(self._program.environ)
        if given.username:
            return given.username
        answer = self._program.run(Subject("account", given.source), "config", "view")
        found = re.search(r"^- username: (\S+)$", answer.out, re.MULTILINE)
        if found is None or found[1] == "None":
            raise self._program.fault(Subject("account", given.source), answer)
        return found[1]

    def download_competition(
        self, slug: str, folder: Path, *, timeout_s: float | None = None, tick: Callable[[], None] | None = None
    ) -> Path:
        """Download `<folder>/<slug>.zip`; an interrupted download is continued.

        Args:
            slug: the competition.
            folder: created if missing.
            timeout_s: time limit of one attempt, in seconds; default: `timeouts.transfer_seconds`.
            tick: called about twice a second during the download.

        Raises:
            OutputIncomplete: the downloaded file is not a zip and was removed.
        """
        subject = Subject("competition", slug)
        words = ("competitions", "download", slug, "-p", str(folder), "-q")
        limit = timeout_s or self._timeouts.transfer_seconds
        self._program.run(subject, *words, timeout_s=limit, tick=tick, arrived=lambda: _bytes_in(folder))
        path = folder / f"{slug}.zip"
        if not path.is_file():
            raise OutputIncomplete(
                f"the kaggle client reported the download of {subject}, but {path} does not exist; run this command "
                "again"
            )
        if not zipfile.is_zipfile(path):
            size, page = path.stat().st_size, output.error_page(path)
            path.unlink()
            raise OutputIncomplete(
                f"the file that Kaggle sent for {subject} is {page or 'not a complete zip'} ({size:,} bytes; removed); "
                "run this command again"
            )
        return path

    def push(self, folder: Path, *, accelerator: str | None = None, session_seconds: int | None = None) -> Pushed:
        """Push the kernel in `folder` (with its kernel-metadata.json), which starts a run.

        Raises:
            PushRefused: Kaggle did not accept the kernel, or accepted it without its inputs.
            SessionCapReached: too many sessions are running.
            AnswerLost: it is unknown whether a run started; check `kernel_state` before another push.
        """
        subject = Subject("kernel", _kernel_id(folder))
        words = ["kernels", "push", "-p", str(folder)]
        words += ["-t", str(session_seconds)] if session_seconds else []
        words += ["--accelerator", accelerator] if accelerator else []
        try:
            limit = self._timeouts.upload_seconds
            answer = self._program.run(subject, *words, timeout_s=limit, again=lambda error: not error.may_have_arrived)
        except (*TRANSIENT, TimedOut) as error:
            if not error.may_have_arrived:
                raise
            raise AnswerLost(
                f"{subject}: may have been pushed, and a run may have started; check "
                f"https://www.kaggle.com/code/{subject.name} before pushing again (cause: {str(error).split(';')[0]})"
            ) from None
        done, dropped = answers.pushed(answer.out), answers.dropped_sources(answer.out)
        if done is not None and not dropped:
            return done
        if done is not None:
            raise PushRefused(
                f"{done.ref} version {done.version} was pushed and runs, but Kaggle left out its {dropped}, so the run "
                f"will fail; accept the rules at {RULES_URL}, check the names, and push again"
            )
        said = faults.last_line(answer.text)
        kind = faults.kind_of(answer.text, subject)
        if kind is None:
            raise PushRefused(
                f"Kaggle did not accept {subject}, so no session runs: {said.removeprefix('Kernel push error: ')}"
            )
        raise faults.sentence(kind, subject, said)

    def kernel_state(self, ref: str) -> KernelState:
        """State of a session.

        ref: "owner/slug" for the latest session, which shortly after a push can be that of the push before; or
            "owner/slug/3" for that of version 3, which needs `knows_versions`.
        """
        subject = Subject("kernel", ref)
        answer = self._program.run(subject, "kernels", "status", ref, accept=_is_unreadable_word)
        return answers.kernel_state(answer.text)

    @property
    def knows_versions(self) -> bool:
        """Whether the installed client can ask for a version of a kernel: from 2.2.5 on."""
        try:
            installed = importlib.metadata.version("kaggle")
        except importlib.metadata.PackageNotFoundError:
            return False
        return tuple(map(int, re.findall(r"\d+", installed)[:3])) >= (2, 2, 5)

    def kernel_output(self, ref: str, folder: Path) -> list[Path]:
        """Download the output files of a kernel and its log, `<slug>.log`, into `folder`, which is new or empty.

        ref: as for `kernel_state`.

        The client does not check the files, so this method refuses names that lead out of the folder, and error pages
        that were saved as files. The caller must check that the files belong to the right run (manifest, run id).

        Returns:
            The files, sorted.

        Raises:
            OutputIncomplete: a name leads out of the folder, or a file is an error page; `folder` is unchanged.
        """
        subject = Subject("kernel", ref)

        def fetch(target: Path) -> None:
            words = ("kernels", "output", ref, "-p", str(target), "-o", "-q", "--page-size", _PAGE_SIZE)
            self._program.run(
                subject,
                *words,
                "--file-pattern",
                output.NAME_PATTERN,
                timeout_s=self._timeouts.transfer_seconds,
                arrived=lambda: _bytes_in(target),
            )

        return output.fetch_into(folder, ref, fetch)

    def submit(self, slug: str, file: Path, message: str) -> None:
        """Upload `file` as an entry with description `message`, in a single attempt.

        Raises:
            UploadFailed, DailyLimitReached, CompetitionClosed, RulesNotAccepted, UnknownSlug, RateLimited,
            NoCredentials, NetworkGone: nothing was submitted.
            AnswerLost: it is unknown whether the file was submitted; search `submissions` for the message first.
        """
        subject = Subject("competition", slug)
        credentials.find(self._program.environ)
        words = ("competitions", "submit", slug, "-f", str(file), "-m", message, "-q")
        try:
            answer = self._program.once(subject, *words, timeout_s=self._timeouts.upload_seconds)
        except TimedOut as error:
            raise _answer_lost(file, slug, str(error)) from None
        if answer.code == 0 and "successfully submitted" in answer.out.lower():
            return
        if "Could not submit to competition" in answer.text:
            raise UploadFailed(f"{file}: the upload failed, and nothing was submitted; run this command again")
        fault = self._program.fault(subject, answer)
        # The client names the call that failed. Before the last call nothing can have been submitted.
        early = "/StartSubmissionUpload" in answer.text
        raise _answer_lost(file, slug, answer.said) if fault.may_have_arrived and not early else fault

    def submissions(self, slug: str) -> list[Submission]:
        """The latest 200 entries of the account, newest first; the client cannot list more."""
        subject = Subject("competition", slug)
        words = ("competitions", "submissions", slug, "--format", "json", "--page-size", _PAGE_SIZE)
        return answers.submissions(self._program.run(subject, *words).out, slug)

    def submission_limits(self, slug: str) -> Limits:
        """Number of entries made today and in total, and number of entries allowed now."""
        subject = Subject("competition", slug)
        return answers.limits(self._program.run(subject, "competitions", "submission-limits", slug, "--json").out)


def _kernel_id(folder: Path) -> str:
    """The id in kernel-metadata.json of a folder."""
    path = folder / "kernel-metadata.json"
    found = atomic.read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("id"), str):
        raise FerKitError(f"{path}: has no id; it must be OWNER/SLUG")
    return str(found["id"])


def _bytes_in(folder: Path) -> int:
    """Size of all files in `folder`, as far as a download that goes on lets them be counted."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


def _is_unreadable_word(answer: Answer) -> bool:
    return bool(answers.unreadable_word(answer.text))


def _answer_lost(file: Path, slug: str, said: str) -> AnswerLost:
    page = f"https://www.kaggle.com/competitions/{slug}/submissions"
    return AnswerLost(
        f"{file}: may have been submitted, which would use one of today's entries; check {page} before trying again "
        f'(Kaggle says "{said}")'
    )
