"""The seam to Kaggle in the good case, with the unmodified client; credentials, masking, pauses, wording."""

from __future__ import annotations

import io
import urllib.request
import zipfile
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from fer_kit.data import places
from fer_kit.errors import FerKitError
from fer_kit.kaggle import answers as kaggle_answers
from fer_kit.kaggle import credentials, faults
from fer_kit.kaggle.client import COMPETITION, RULES_URL, Client, Limits, Pushed
from fer_kit.kaggle.errors import (
    CompetitionClosed,
    DailyLimitReached,
    NetworkGone,
    NoCredentials,
    RateLimited,
    RulesNotAccepted,
    ServerTrouble,
    UnknownAnswer,
    UnknownSlug,
)
from fer_kit.kaggle.faults import Subject
from fer_kit.kaggle.program import Answer, Program
from tests.helpers.kaggle_standin import DROP, error
from tests.helpers.kernel_folder import KERNEL, kernel_folder


def test_the_slug_is_the_one_that_data_looks_for():
    assert places.SLUG == COMPETITION
    assert f"https://www.kaggle.com/competitions/{COMPETITION}/rules" == RULES_URL


@pytest.mark.slow
def test_kernels_push_status_and_output(kaggle_site, tmp_path):
    def run(version):
        version.files = {f"file{n}.txt": b"%d" % n for n in range(6)} | {"fold0/oof.npz": b"numbers"}
        version.log = '[{"stream_name":"stdout","time":1.0,"data":"done"}]'
        version.states = ["RUNNING", "COMPLETE"]

    kaggle_site.on_push, kaggle_site.page_cap = run, 3
    client = kaggle_site.client()
    pushed = client.push(kernel_folder(tmp_path / "kernel"), accelerator="NvidiaTeslaT4", session_seconds=3600)
    assert pushed == Pushed("player", "my-kernel", 1, f"https://www.kaggle.com/code/{KERNEL}")
    [version] = kaggle_site.kernels[pushed.ref]
    assert version.source == "print('hello')\n"
    assert version.request["machineShape"] == "NvidiaTeslaT4"
    assert version.request["sessionTimeoutSeconds"] == 3600
    assert version.request["enableInternet"] is False

    assert client.kernel_state(KERNEL).word == "running"
    assert client.kernel_state(KERNEL).word == "complete"

    (tmp_path / "out").mkdir()  # empty is as good as new
    files = client.kernel_output(KERNEL, tmp_path / "out")
    assert len(files) == 8 and files == sorted(files)  # from three pages, and the log
    assert (tmp_path / "out" / "fold0" / "oof.npz").read_bytes() == b"numbers"
    assert "done" in (tmp_path / "out" / "my-kernel.log").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kernel", "out"]  # nothing temporary is left
    with pytest.raises(FerKitError, match=r"out: is not an empty folder"):
        client.kernel_output(KERNEL, tmp_path / "out")


@pytest.mark.slow
def test_submit_and_look(kaggle_site, tmp_path):
    client = kaggle_site.client()
    file = tmp_path / "first.csv"
    file.write_text("3\n0\n")
    kaggle_site.pending_polls = 1
    kaggle_site.judge = lambda content: {"status": "ERROR"}
    assert client.submission_limits(COMPETITION) == Limits(0, 0, 2)
    client.submit(COMPETITION, file, "first try, quotes ' and \" too [tag 12ab]")
    [pending] = client.submissions(COMPETITION)
    assert (pending.status, pending.public, pending.private, pending.error) == ("pending", None, None, "")
    assert pending.description.endswith("[tag 12ab]") and pending.file_name == "first.csv"
    assert kaggle_site.uploads[int(pending.ref)] == b"3\n0\n"
    [failed] = client.submissions(COMPETITION)
    assert failed.status == "error"
    assert failed.error.endswith(f"competitions/{COMPETITION}/submissions")
    assert len(kaggle_site.calls("CreateSubmission")) == 1


def test_scores_come_newest_first(kaggle_site):
    entry = {"fileName": "a.csv", "description": "d", "status": "COMPLETE", "privateScore": "0.7"}
    dates = {1: "2026-11-20T10:00:00Z", 3: "2026-11-22T10:00:00.250Z", 2: "2026-11-21T10:00:00Z"}
    kaggle_site.submissions = [{"ref": ref, "date": date, "publicScore": "", **entry} for ref, date in dates.items()]
    found = kaggle_site.client().submissions(COMPETITION)
    assert [entry.ref for entry in found] == ["3", "2", "1"]
    assert (found[0].date, found[0].public, found[0].private) == ("2026-11-22T10:00:00", None, 0.7)


@pytest.mark.slow
def test_a_token(kaggle_site):
    client = kaggle_site.client(KAGGLE_API_TOKEN=kaggle_site.token, KAGGLE_USERNAME=None, KAGGLE_KEY=None)
    assert client.user() == "player"  # only Kaggle knows whose token it is
    assert client.submission_limits(COMPETITION).left_now == 2
    assert kaggle_site.calls("GetSubmissionLimits")[0].headers["Authorization"].startswith("Bearer ")


@pytest.mark.slow
def test_transient_failures_are_tried_again(kaggle_site):
    for response in (DROP, error(429, "Rate limited. Retry after 7 seconds.", Retry_After="7")):
        kaggle_site.fail("GetSubmissionLimits", response)
    assert kaggle_site.client().submission_limits(COMPETITION).left_now == 2
    assert len(kaggle_site.sleeps) == 2 and kaggle_site.sleeps[1] == 7.0


def test_pauses_grow_and_jitter_and_end(monkeypatch):
    texts = ["Too Many Requests", "Expecting value: line 1 column 1 (char 0)", "Bad Gateway", "ConnectionError", "503"]
    texts[4] = "503 Server Error: Service Unavailable for url: …"
    answers = iter([Answer("", text, 1) for text in texts])
    monkeypatch.setattr(Program, "once", lambda *words, **named: next(answers))
    pauses: list[float] = []
    environ = {"KAGGLE_USERNAME": "player", "KAGGLE_KEY": "planted"}
    with pytest.raises(
        ServerTrouble, match=r"Kaggle reports a server error \(5 attempts\); run this command again later"
    ):
        Client(environ=environ, sleep=pauses.append).submission_limits(COMPETITION)
    assert all(0.5 <= pause / mean <= 1.5 for pause, mean in zip(pauses, (2, 4, 8, 16), strict=True))
    assert len({pause % 1 for pause in pauses}) == 4  # jitter: many clients do not come back at once


@pytest.mark.parametrize("download", ["kernel_output", "download_competition"])
def test_a_download_may_take_hours_while_bytes_arrive(monkeypatch, tmp_path, download):
    """A slow line: only a download that stands still is given up, since an attempt may begin from nothing."""
    limits: list[float] = []

    def once(program: Program, subject: Subject, *words: str, timeout_s: float, tick: Callable[[], None]) -> Answer:
        limits.append(timeout_s)
        tick()  # watches the bytes
        return Answer("", "404 - Not Found", 1)

    monkeypatch.setattr(Program, "once", once)
    monkeypatch.setattr(Program, "_refuses_credentials", lambda program: False)
    client = Client(environ={"KAGGLE_USERNAME": "player", "KAGGLE_KEY": "planted"})
    with pytest.raises(UnknownSlug):
        getattr(client, download)("player/some-kernel", tmp_path / "new")
    assert limits[0] >= 12 * 3600


def test_nobody_waits_an_hour_in_silence(monkeypatch):
    monkeypatch.setattr(Program, "once", lambda *words, **named: Answer("", "rate limit, retry after 3600 seconds", 1))
    environ = {"KAGGLE_USERNAME": "player", "KAGGLE_KEY": "planted"}
    with pytest.raises(RateLimited, match=r"Kaggle limits the rate of requests; wait .* retry after 3600 seconds"):
        Client(environ=environ, sleep=pytest.fail).submission_limits(COMPETITION)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Retry-After: 30", 30),
        ("please retry in 2.5 s", 2.5),
        ("try again in 3 minutes", 180),
        ("please try again tomorrow UTC (5 hours from now)", None),
        ("Too Many Requests", None),
    ],
)
def test_pauses_are_read(text, seconds):
    assert faults.retry_after_seconds(text) == seconds


COMPETITION_SUBJECT, KERNEL_SUBJECT = Subject("competition", "any"), Subject("kernel", "player/some-kernel")


@pytest.mark.parametrize(
    ("text", "subject", "kind"),
    [
        ("403 - Forbidden - You must accept this competition's rules first", COMPETITION_SUBJECT, RulesNotAccepted),
        ("403 Client Error: Forbidden for url: https://api.kaggle.com/v1/x/Y", COMPETITION_SUBJECT, RulesNotAccepted),
        ("403 Client Error: Forbidden for url: https://storage.example/z.zip", COMPETITION_SUBJECT, ServerTrouble),
        ("403 Client Error: Forbidden for url: https://api.kaggle.com/v1/x/Y", KERNEL_SUBJECT, UnknownSlug),
        ("Permission 'competitions.participate' was denied", COMPETITION_SUBJECT, UnknownSlug),
        ("The competition deadline has passed.", COMPETITION_SUBJECT, CompetitionClosed),
        ("This competition is no longer accepting submissions", COMPETITION_SUBJECT, CompetitionClosed),
        ("Submission limit reached", COMPETITION_SUBJECT, DailyLimitReached),
        ("429 Client Error: Too Many Requests for url: …", COMPETITION_SUBJECT, RateLimited),
        ("500 Server Error: Internal Server Error for url: …", KERNEL_SUBJECT, ServerTrouble),
        (
            "HTTPSConnectionPool(host='api.kaggle.com', port=443): Max retries exceeded with url: /v1/competitions."
            "CompetitionApiService/X (Caused by ProtocolError('Remote end closed connection without response'))",
            COMPETITION_SUBJECT,
            NetworkGone,  # "competition … closed" stands in it too
        ),
        ("something that nobody has seen", COMPETITION_SUBJECT, None),
    ],
)
def test_what_words_mean(text, subject, kind):
    assert faults.kind_of(text, subject) is kind


def test_unknown_answers_are_not_taken_for_success():
    with pytest.raises(UnknownAnswer, match=r'submissions printed no JSON list; it printed "hello"'):
        kaggle_answers.submissions("hello", COMPETITION)
    with pytest.raises(UnknownAnswer, match=r'submission-limits printed no JSON dict; it printed "\[\]"'):
        kaggle_answers.limits("[]")
    with pytest.raises(UnknownAnswer, match="status printed no status"):
        kaggle_answers.kernel_state("")
    assert kaggle_answers.pushed("Kernel version successfully pushed.  Please check progress at ") is None
    assert kaggle_answers.kernel_state('a/b has status "KernelWorkerStatus.CANCEL_REQUESTED"').word == "cancelled"


def test_credentials_in_the_order_of_the_client(tmp_path):
    environ = {"HOME": str(tmp_path)}
    with pytest.raises(
        NoCredentials, match=r"no Kaggle credentials found; make a token at https://\S+ and set KAGGLE_A"
    ):
        credentials.find(environ)
    with pytest.raises(NoCredentials, match=r"found \(KAGGLE_KEY alone is not enough\); make"):
        credentials.find(environ | {"KAGGLE_KEY": "x" * 32})
    (tmp_path / ".kaggle").mkdir()
    (tmp_path / ".kaggle" / "kaggle.json").write_text('{"username": "filed", "key": "planted-in-a-file"}')
    assert credentials.find(environ).username == "filed"
    assert Client(environ=environ).user() == "filed"
    both = environ | {"KAGGLE_USERNAME": "set", "KAGGLE_KEY": "x" * 32}
    assert credentials.find(both).username == "set"
    assert credentials.find(both | {"KAGGLE_API_TOKEN": "t" * 32}).source == "KAGGLE_API_TOKEN"
    assert credentials.Mask(environ)("the key planted-in-a-file") == "the key ***"


def test_windows_line_ends_around_credentials_are_removed(tmp_path):
    given = {"HOME": str(tmp_path), "KAGGLE_USERNAME": "player\r\n", "KAGGLE_KEY": "\ufeffkey-of-player\r"}
    assert Client(environ=given).user() == "player"
    assert credentials.client_environ(given)["KAGGLE_KEY"] == "key-of-player"
    with pytest.raises(NoCredentials, match="KAGGLE_API_TOKEN holds white space or a character outside ASCII"):
        Client(environ={"HOME": str(tmp_path), "KAGGLE_API_TOKEN": "two words"})
    (tmp_path / ".kaggle").mkdir()
    (tmp_path / ".kaggle/access_token").write_text("\ufefftoken", encoding="utf-8")
    with pytest.raises(NoCredentials, match="access_token begins with a byte order mark"):
        credentials.find({"HOME": str(tmp_path)})


def test_no_secret_gets_through_the_mask():
    mask = credentials.Mask({"KAGGLE_USERNAME": "player", "KAGGLE_KEY": "planted", "KAGGLE_API_TOKEN": "tok-en"})
    text = "planted tok-en cGxheWVyOnBsYW50ZWQ= for url: https://storage.example/a.zip?Signature=abc&b=1 KGAT_123"
    assert mask(text) == "*** *** *** for url: https://storage.example/a.zip?*** ***"


def test_the_clients_environment_is_scrubbed():
    given = {"KAGGLE_KEY": "k", "KAGGLE_COMPETITION": "titanic", "KAGGLE_PATH": "/", "VERBOSE": "1", "HOME": "/h"}
    given |= {"PYTHONWARNINGS": "error", "PYTHONPATH": "."}
    assert credentials.client_environ(given) == {"KAGGLE_KEY": "k", "HOME": "/h", "PYTHONUTF8": "1"}
    with pytest.raises(UnknownAnswer, match=r"KAGGLE_API_ENVIRONMENT is 'LOCAL': .* PROD and LOCALHOST .* unset it"):
        Client(environ={"KAGGLE_API_ENVIRONMENT": "LOCAL"})


def test_a_folder_with_a_kaggle_py_does_not_matter(kaggle_site, tmp_path, monkeypatch):
    (tmp_path / "kaggle.py").write_text("raise SystemExit('wrong one')")
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("train.csv", "emotion,pixels\n")
    kaggle_site.zip_bytes = buffer.getvalue()
    path = kaggle_site.client().download_competition(COMPETITION, tmp_path / "new")
    assert path.read_bytes() == kaggle_site.zip_bytes
    assert all(request.host in ("localhost", "storage.standin") for request in kaggle_site.requests)


def test_the_client_leaves_zeros_out():
    assert kaggle_answers.limits('{"numToday": 2, "numTotal": 9}') == Limits(2, 9, 0)
    assert kaggle_answers.limits("{}") == Limits(0, 0, 0)


@pytest.mark.parametrize("address", ["http://example.org/x", "https://api.kaggle.com/v1/x"])
def test_a_leak_is_seen(kaggle_site, address):
    proxies = urllib.request.ProxyHandler({"http": kaggle_site.url, "https": kaggle_site.url})
    with pytest.raises(OSError, match="403"):
        urllib.request.build_opener(proxies).open(address)
    assert len(kaggle_site.leaks) == 1 and urlsplit(address).hostname in kaggle_site.leaks.pop()


def test_dropped_inputs_are_named():
    said = "The following are not valid competition sources and could not be added to the kernel: ['titanic']\n"
    assert kaggle_answers.dropped_sources(said) == "competition sources ['titanic']"
    tags = "The following are not valid tags and could not be added to the kernel: ['x']\n"
    assert kaggle_answers.dropped_sources(tags) == ""
