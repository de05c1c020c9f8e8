"""Each way in which Kaggle says no, through the unmodified client: the class of the error and its sentence."""

from __future__ import annotations

import base64
import json

import pytest

from fer_kit.kaggle import faults
from fer_kit.kaggle.client import COMPETITION, RULES_URL, Timeouts
from fer_kit.kaggle.errors import (
    AnswerLost,
    CompetitionClosed,
    DailyLimitReached,
    KaggleError,
    NetworkGone,
    NoCredentials,
    NotJson,
    OutputIncomplete,
    PushRefused,
    RateLimited,
    RulesNotAccepted,
    ServerTrouble,
    SessionCapReached,
    TimedOut,
    UnknownAnswer,
    UnknownSlug,
    UploadFailed,
)
from tests.helpers.kaggle_standin import DROP, Dropped, KernelVersion, Reply, error, html, reply_json
from tests.helpers.kernel_folder import KERNEL, kernel_folder

ONCE = Timeouts(attempts=1)


@pytest.fixture
def refused(kaggle_site):
    """Call, expect exactly this error, look for planted secrets in it, give its text."""
    pair = base64.b64encode(f"{kaggle_site.username}:{kaggle_site.key}".encode()).decode()
    secrets = [kaggle_site.key, kaggle_site.token, pair, "planted"]

    def check(kind: type[KaggleError], call, *args, **named) -> str:
        with pytest.raises(kind) as caught:
            call(*args, **named)
        text = str(caught.value)
        assert type(caught.value) is kind
        assert "\n" not in text
        assert not [secret for secret in secrets if secret in text]
        return text

    return check


@pytest.fixture
def kernel(tmp_path):
    return kernel_folder(tmp_path / "kernel")


@pytest.fixture
def entry(tmp_path):
    path = tmp_path / "entry.csv"
    path.write_text("3\n0\n")
    return path


# --- credentials, rules, names ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_credentials(kaggle_site, refused):
    text = refused(NoCredentials, kaggle_site.client(KAGGLE_KEY=None, KAGGLE_USERNAME=None).submissions, COMPETITION)
    assert text.startswith("no Kaggle credentials found; make a token at https://www.kaggle.com/settings/api and set")
    assert not kaggle_site.requests  # not even asked

    text = refused(NoCredentials, kaggle_site.client(KAGGLE_KEY="stale-planted-key").submissions, COMPETITION)
    assert text.startswith("Kaggle refuses the credentials from KAGGLE_KEY; make a token at ")
    token = {"KAGGLE_API_TOKEN": "stale-planted-token", "KAGGLE_KEY": None, "KAGGLE_USERNAME": None}
    text = refused(NoCredentials, kaggle_site.client(**token).user)
    assert text.startswith("Kaggle refuses the credentials from KAGGLE_API_TOKEN; make a token at ")
    assert not kaggle_site.sleeps  # refusals are not tried again


@pytest.mark.slow
def test_rules_not_accepted(kaggle_site, refused, tmp_path):
    said = "You must accept this competition's rules before you'll be able to download files."
    kaggle_site.fail("DownloadDataFiles", error(403, said))
    text = refused(RulesNotAccepted, kaggle_site.client().download_competition, COMPETITION, tmp_path)
    assert f"open {RULES_URL} in a browser, accept them there" in text
    assert said in text and not kaggle_site.sleeps


@pytest.mark.slow
def test_wrong_slugs(kaggle_site, refused, tmp_path):
    text = refused(UnknownSlug, kaggle_site.client().submissions, "fer-2013")
    assert text.startswith("Kaggle has no competition 'fer-2013', or you have not joined it")
    assert COMPETITION in text
    text = refused(UnknownSlug, kaggle_site.client().kernel_state, "player/no-such-kernel")
    assert text.startswith("Kaggle has no kernel 'player/no-such-kernel', or it is private to another account; check ")
    stale = kaggle_site.client(KAGGLE_KEY="stale-planted-key")
    for asked in (stale.kernel_state, lambda ref: stale.kernel_output(ref, tmp_path / "output")):
        text = refused(NoCredentials, asked, "player/some-kernel")  # the client says the same as of an unknown kernel
        assert text.startswith("Kaggle refuses the credentials from KAGGLE_KEY; make a token at ")
    kaggle_site.fail("GetAcceleratorQuotaStatistics", DROP)  # no answer on the credentials: then the kernel is named
    assert "no kernel 'player/no-such'" in refused(UnknownSlug, kaggle_site.client().kernel_state, "player/no-such")


def test_a_missing_file_is_not_told_as_an_unknown_name():
    said = "FileNotFoundError: [Errno 2] No such file or directory: '/home/x/entry.csv'"
    assert faults.kind_of(said, faults.Subject("competition", COMPETITION)) is None
    assert faults.kind_of("404 - Not Found", faults.Subject("kernel", "a/b")) is UnknownSlug


# --- transport ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_asked_too_often(kaggle_site, refused):
    kaggle_site.fail("GetSubmissionLimits", error(429, "Too Many Requests", Retry_After="7"), times=2)
    client = kaggle_site.client(Timeouts(attempts=2))
    text = refused(RateLimited, client.submission_limits, COMPETITION)
    assert text.startswith("Kaggle limits the rate of requests (2 attempts); wait")
    assert len(kaggle_site.sleeps) == 1


def test_a_web_page_instead_of_data(kaggle_site, refused):
    kaggle_site.fail("ListSubmissions", html(200, "Kaggle is down for maintenance", kind="application/json"))
    text = refused(NotJson, kaggle_site.client(ONCE).submissions, COMPETITION)
    assert text.startswith(
        f"Kaggle sent a web page instead of data about competition '{COMPETITION}'; check that kaggle.com"
    )


@pytest.mark.slow
def test_network_gone_and_too_slow(kaggle_site, refused):
    client = kaggle_site.client(ONCE, http_proxy="http://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9")
    text = refused(NetworkGone, client.submissions, COMPETITION)
    assert text.startswith("Kaggle cannot be reached; check the network (proxy, name server)")
    assert "Connection refused" in text
    kaggle_site.fail("ListSubmissions", Reply(200, delay_seconds=20))
    text = refused(TimedOut, kaggle_site.client(Timeouts(call_seconds=2.5)).submissions, COMPETITION)
    assert text.startswith(f"no answer from Kaggle about competition '{COMPETITION}' within 2.5 s; check the network")


@pytest.mark.slow
def test_an_unknown_fault_shows_what_was_said_without_secrets(kaggle_site, refused):
    said = f"The flux capacitor is empty {kaggle_site.key} {kaggle_site.token} http://x.y/z?Signature=planted"
    kaggle_site.fail("GetSubmissionLimits", error(400, said))
    text = refused(UnknownAnswer, kaggle_site.client().submission_limits, COMPETITION)
    assert text.startswith(f"the kaggle client failed for competition '{COMPETITION}' ")
    assert '(Kaggle says "The flux capacitor is empty *** *** http://x.y/z?***")' in text


# --- kernels ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_push_that_was_refused_with_exit_code_0(kaggle_site, refused, kernel):
    kaggle_site.fail("SaveKernel", reply_json({"error": "Maximum batch GPU session count of 2 reached."}))
    text = refused(SessionCapReached, kaggle_site.client().push, kernel)
    assert text.startswith("the account has the maximal number of running sessions, so no session was started; wait")

    kaggle_site.fail("SaveKernel", reply_json({"error": f"Invalid metadata {kaggle_site.key}"}))
    text = refused(PushRefused, kaggle_site.client().push, kernel)
    assert text == f"Kaggle did not accept kernel '{KERNEL}', so no session runs: Invalid metadata ***"
    assert not kaggle_site.sleeps and not kaggle_site.kernels


def test_a_push_without_its_data(kaggle_site, refused, kernel):
    pushed = {"url": f"https://www.kaggle.com/code/{KERNEL}", "versionNumber": 3}
    kaggle_site.fail("SaveKernel", reply_json({**pushed, "invalidCompetitionSources": [COMPETITION]}))
    text = refused(PushRefused, kaggle_site.client().push, kernel)
    assert text.startswith(f"{KERNEL} version 3 was pushed and runs, but Kaggle left out its competition sources ['")
    assert f"accept the rules at {RULES_URL}" in text


def test_a_push_whose_answer_is_lost_is_not_repeated(kaggle_site, refused, kernel):
    kaggle_site.fail("SaveKernel", Dropped(after=True))
    text = refused(AnswerLost, kaggle_site.client().push, kernel)
    assert text.startswith(f"kernel '{KERNEL}': may have been pushed, and a run may have started; check ")
    assert len(kaggle_site.calls("SaveKernel")) == len(kaggle_site.kernels[KERNEL]) == 1


@pytest.mark.slow
def test_states_that_mislead(kaggle_site, kernel):
    client = kaggle_site.client()
    kaggle_site.fail("GetKernelSessionStatus", reply_json({"status": "PAUSED"}))  # stops the client with a traceback
    assert client.kernel_state(KERNEL).word == "unknown"
    old, new = KernelVersion(KERNEL, 1, {}), KernelVersion(KERNEL, 2, {})
    new.states, new.failure = ["ERROR"], 'Your notebook "ran"\nout of memory'
    kaggle_site.kernels[KERNEL], kaggle_site.stale_polls = [old, new], 1
    assert client.kernel_state(KERNEL).word == "complete"  # the version before: only a run id can tell
    state = client.kernel_state(KERNEL)
    assert (state.word, state.raw, state.failure) == ("error", "ERROR", 'Your notebook "ran" out of memory')


@pytest.mark.slow
def test_outputs_that_are_not_what_they_say(kaggle_site, refused, tmp_path):
    version = KernelVersion(KERNEL, 1, {}, log="[]")
    kaggle_site.kernels[KERNEL] = [version]
    fetch = kaggle_site.client().kernel_output

    version.files = {"result.json": b"{}", "oof.npz": html(200, "Sign in")}
    text = refused(OutputIncomplete, fetch, KERNEL, tmp_path / "new" / "page")
    assert text.startswith(f"the file 'oof.npz' of kernel '{KERNEL}' is an error page (\"<!DOCTYPE html>")

    version.files = {"result.json": b"{}", "../../escaped.txt": b"x"}
    text = refused(OutputIncomplete, fetch, KERNEL, tmp_path / "new" / "stray")
    assert text.startswith(f"the output of kernel '{KERNEL}' has names that lead out of its folder")
    assert "../../escaped.txt" in text  # refused by us, and from 2.2.5 on by the client before us

    version.files = {"result.json": b"{}", "oof.npz": html(403, "403 Forbidden")}  # a signed address that is too old
    with pytest.raises((OutputIncomplete, ServerTrouble)):  # saved as the file by the client up to 2.2.4
        fetch(KERNEL, tmp_path / "new" / "old")
    assert not list((tmp_path / "new").iterdir())

    outside = tmp_path / "absolute.txt"
    version.files = {"fine.txt": b"x", str(outside): b"x", "../" * 12 + "far.txt": b"x", "..fine": b"x"}
    found = fetch(KERNEL, tmp_path / "new" / "far")
    assert [path.name for path in found] == ["..fine", "fine.txt", "my-kernel.log"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["..fine", "far", "fine.txt", "my-kernel.log", "new"]


# --- submissions --------------------------------------------------------------------------------------------------


def test_an_upload_that_was_refused_with_exit_code_0(kaggle_site, refused, entry):
    kaggle_site.fail("upload", error(403, "expired"))
    text = refused(UploadFailed, kaggle_site.client().submit, COMPETITION, entry, "text")
    assert text == f"{entry}: the upload failed, and nothing was submitted; run this command again"
    assert not kaggle_site.submissions and not kaggle_site.calls("CreateSubmission")


@pytest.mark.slow
def test_closed_and_used_up(kaggle_site, refused, entry):
    submit = kaggle_site.client().submit
    kaggle_site.limits["numAllowedNow"] = 0
    text = refused(DailyLimitReached, submit, COMPETITION, entry, "text")
    assert text.startswith("no entries are left today; Kaggle counts days in UTC, so try again after 00:00 UTC")
    kaggle_site.fail("StartSubmissionUpload", error(400, "The competition has ended and is closed for submissions."))
    text = refused(CompetitionClosed, submit, COMPETITION, entry, "text")
    assert text.startswith("the competition does not accept submissions now; see https://www.kaggle.com/compet")


@pytest.mark.slow
@pytest.mark.parametrize("response", [Dropped(after=True), html(200)])
def test_a_lost_answer_never_leads_to_a_second_entry(kaggle_site, refused, entry, response):
    kaggle_site.fail("CreateSubmission", response)
    text = refused(AnswerLost, kaggle_site.client().submit, COMPETITION, entry, "text")
    assert text.startswith(f"{entry}: may have been submitted, ") and "https://www.kaggle.com/competitions/" in text
    assert len(kaggle_site.calls("CreateSubmission")) == 1 and not kaggle_site.sleeps


@pytest.mark.slow
def test_a_connection_lost_before_the_upload_submitted_nothing(kaggle_site, refused, entry):
    kaggle_site.fail("StartSubmissionUpload", DROP)
    refused(NetworkGone, kaggle_site.client().submit, COMPETITION, entry, "text")
    assert not kaggle_site.calls("CreateSubmission")


@pytest.mark.slow
def test_a_page_without_entries(kaggle_site):
    assert kaggle_site.client().submissions(COMPETITION) == []


def test_a_kernel_folder_without_an_id(kaggle_site, kernel):
    (kernel / "kernel-metadata.json").write_text(json.dumps({"title": "My kernel"}))
    with pytest.raises(Exception, match=r"kernel-metadata.json: has no id; it must be OWNER/SLUG"):
        kaggle_site.client().push(kernel)
