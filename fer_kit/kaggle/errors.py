"""Errors of the access to Kaggle: a class for each fault that callers may handle differently."""

from __future__ import annotations

from fer_kit.errors import FerKitError

# ruff: noqa: N818 (the names describe the fault; "Error" at the end would add nothing)


class KaggleError(FerKitError):
    """A command of the kaggle client failed. The message is one line without secrets.

    `may_have_arrived` is False if Kaggle certainly did nothing: it refused the request, or there was no connection.
    """

    may_have_arrived = True


class NoCredentials(KaggleError):
    """No credentials are set, or Kaggle refuses the credentials."""


class RulesNotAccepted(KaggleError):
    """The rules of the competition were not accepted in the browser; a program cannot accept them."""


class UnknownSlug(KaggleError):
    """There is no competition, kernel, dataset or model of this name, or it is private to another account."""


class CompetitionClosed(KaggleError):
    """The competition does not accept submissions any more."""


class RateLimited(KaggleError):
    """Kaggle still limits the rate of requests after all attempts."""


class SessionCapReached(KaggleError):
    """The account has the maximal number of running sessions; no session was started."""


class PushRefused(KaggleError):
    """Kaggle did not accept the kernel, although the client may have exited with 0; no session runs."""


class KernelFailed(KaggleError):
    """The kernel ran and ended with an error, or was cancelled."""


class OutputIncomplete(KaggleError):
    """The output of a kernel lacks files, has damaged files, or belongs to another run."""


class UploadFailed(KaggleError):
    """The upload of the file failed; nothing was submitted."""


class AnswerLost(KaggleError):
    """It is unknown whether a submission or push arrived; check `submissions` or `kernel_state` before another try."""


class DailyLimitReached(KaggleError):
    """No entries are left today."""


class NotJson(KaggleError):
    """Kaggle still sends a web page instead of data after all attempts."""


class NetworkGone(KaggleError):
    """Kaggle still cannot be reached, or the connection still breaks, after all attempts."""


class ServerTrouble(KaggleError):
    """Kaggle still answers with a server error (5xx) after all attempts."""


class TimedOut(KaggleError):
    """There was no answer within the time limit."""


class Stalled(TimedOut):
    """A download received no byte for too long."""


class UnknownAnswer(KaggleError):
    """The client printed output that fer_kit does not know; the message shows the last line."""
