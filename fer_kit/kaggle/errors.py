"""What can go wrong between here and Kaggle: one class for each fault that a caller may want to treat differently."""

from __future__ import annotations

from fer_kit.errors import FerKitError

# ruff: noqa: N818 (the names say what happened; all end up after "except", where "Error" adds nothing)


class KaggleError(FerKitError):
    """A command of the kaggle client did not do what it was asked to. The message is one line, secrets masked.

    `may_have_arrived` is False where Kaggle surely did nothing: it refused, or the connection never came about.
    """

    may_have_arrived = True


class NoCredentials(KaggleError):
    """No credentials are set, or Kaggle refuses those that are."""


class RulesNotAccepted(KaggleError):
    """The competition's rules were not accepted in the browser; no program can do it."""


class UnknownSlug(KaggleError):
    """No competition, kernel, dataset or model of that name, or it is another's private one."""


class CompetitionClosed(KaggleError):
    """The competition takes no submissions any more."""


class RateLimited(KaggleError):
    """Kaggle asks to come back later, still after all attempts."""


class SessionCapReached(KaggleError):
    """As many sessions as the account may have run at once are running; nothing was started."""


class PushRefused(KaggleError):
    """Kaggle did not take the kernel, although the client may have exited with 0; nothing runs."""


class KernelFailed(KaggleError):
    """The kernel ran and ended with an error, or was cancelled."""


class OutputIncomplete(KaggleError):
    """A kernel's output lacks files, holds files that are not what they say, or belongs to another run."""


class UploadFailed(KaggleError):
    """The file did not arrive; nothing was submitted."""


class AnswerLost(KaggleError):
    """A submission or a push may or may not have arrived. Look (`submissions`, `kernel_state`) before trying again."""


class DailyLimitReached(KaggleError):
    """No entries are left today."""


class NotJson(KaggleError):
    """A web page came where data was due, still after all attempts."""


class NetworkGone(KaggleError):
    """Kaggle could not be reached, or the connection broke, still after all attempts."""


class ServerTrouble(KaggleError):
    """Kaggle answered with a fault of its own (5xx), still after all attempts."""


class TimedOut(KaggleError):
    """No answer within the time allowed."""


class UnknownAnswer(KaggleError):
    """The client printed something that this version does not know; the message shows its last line."""
