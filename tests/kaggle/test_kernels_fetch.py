"""Fetch, status and wait against the stand-in: what is brought home, and that a faulty output changes nothing."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from fer_kit.errors import FerKitError
from fer_kit.kaggle.client import Client, KernelState
from fer_kit.kaggle.errors import NetworkGone, NoCredentials, ServerTrouble, Stalled, TimedOut
from fer_kit.runs import finished_folder, folders
from kernels import __main__ as commands
from kernels import push, push_log
from tests.helpers import fake_runs
from tests.helpers.fetching import refused
from tests.helpers.kaggle_standin import KernelVersion, error, reply_json
from tests.helpers.pushed_kernels import RUN, SMALL, entry, files_of, save_output, save_runs


@pytest.mark.slow
def test_folds_come_home_once(evening, capsys):
    assert commands.main(["fetch"]) == 0
    told = capsys.readouterr().out
    assert "run id 20260131T120000-aaaaaaaa, trained on 2 × Tesla T4 (15 GiB, fp16), all checksums match" in told
    assert "runs/baseline_v1-small/fold2: out of fold" in told
    assert files_of(Path("runs", RUN)) == files_of(evening.trained / RUN)
    assert Path("runs/folds.csv").read_bytes() == fake_runs.TABLE
    assert folders.status("runs", RUN).complete
    assert "every push was fetched; the last entry is player/fer-kit-small version 1, fetched" in refused(capsys)
    before = files_of(Path("runs"))
    assert commands.main(["fetch", "fer-kit-small"]) == 0
    assert capsys.readouterr().out.count("finished here") == 3
    assert files_of(Path("runs")) == before


def test_local_folds_stay_and_only_the_missing_ones_come(direct, capsys):
    save_runs(Path("runs"), finished=(1,))
    mine = Path("runs", RUN, "fold1", "env.json")
    mine.write_text('{"command": "mine"}')
    assert commands.main(["fetch"]) == 0
    assert mine.read_text() == '{"command": "mine"}'
    assert "fold1: already finished here" in capsys.readouterr().out
    assert folders.status("runs", RUN).complete


def test_an_unfinished_local_fold_is_not_replaced_in_silence(direct, capsys):
    save_runs(Path("runs"), finished=(), unfinished=(0,))
    message = refused(capsys)
    assert "runs/baseline_v1-small/fold0 is unfinished here, and the kernel's is finished; finish yours" in message
    assert commands.main(["fetch", "--replace-unfinished"]) == 0
    assert folders.status("runs", RUN).complete and not Path("runs", RUN, "fold0", "last.pt").exists()


def test_what_a_kill_behind_the_last_rename_left_is_removed(direct):
    """The fold is finished then, so the next fetch does not move it; the folder that it replaced is still there."""
    save_runs(Path("runs"), finished=(0,))
    old = Path("runs", RUN, ".fold0.0a1b2c3d.part")
    old.mkdir()
    (old / "last.pt").touch()
    assert commands.main(["fetch"]) == 0
    assert not old.exists() and folders.status("runs", RUN).complete


def test_folds_stopped_at_the_limit_come_home_resumable(direct, capsys):
    runs_dir = save_runs(direct.folder / "stopped", finished=(0,), unfinished=(1,))
    direct.trained = runs_dir
    direct.serve()
    assert commands.main(["fetch"]) == 0
    told = capsys.readouterr().out
    assert "fold1: unfinished; continue here with --resume, or on Kaggle with python -m kernels push --resume" in told
    assert Path("runs", RUN, "fold1", "last.pt").read_bytes() == b"a checkpoint"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda e: e.serve("20260130T000000-bbbbbbbb"), "its output is of run id 20260130T000000-bbbbbbbb"),
        (lambda e: e.version.files.pop("runs-1.tar"), "runs-1.tar is missing, but manifest.json names it"),
        (lambda e: e.version.files.pop("manifest.json"), "no manifest.json in its output"),
        (lambda e: e.version.files.update({"manifest.json": b'{"schema": 1'}), "not a readable JSON file"),
        (lambda e: e.version.files.update({"manifest.json": b'{"schema": 2}'}), "not a manifest of this version"),
        (lambda e: e.serve(sha256="0" * 64), "runs-1.tar: the sha256 is not that in manifest.json"),
        (lambda e: e.serve(bytes=17), "manifest.json says 17"),
        (lambda e: e.serve(archive="../evil.tar"), "'archive' is '../evil.tar'; the file is truncated or was edited"),
        (lambda e: e.serve(finished=(0, 1, 2, 3)), "fold 3 is listed as finished, but is not"),
        (lambda e: e.serve(final=False), "during the training; folds that it finished: 0, 1, 2; take what there"),
        (lambda e: e.serve_tar(tarfile.TarInfo("../evil")), "holds '../evil'"),
        (lambda e: e.serve_tar(tarfile.TarInfo("/etc/evil")), "holds '/etc/evil'"),
        (lambda e: e.serve_tar(tarfile.TarInfo(f"{RUN}/fold0/../../x")), "which is not a file of a run"),
        (lambda e: e.serve_tar(tarfile.TarInfo("other/fold0/oof.npz")), "holds 'other/fold0/oof.npz'"),
        (lambda e: e.serve_tar(tarfile.TarInfo(f"{RUN}/fold0/oof.npz")), "fold0/oof.npz', which is not a file"),
        (lambda e: e.serve_tar(link()), "fold0/link', which is not a regular file"),
        (lambda e: e.spoil_fold(), "fold1/oof.npz: changed since result.json was written"),
    ],
)
def test_a_partial_or_foreign_output_changes_nothing(direct, capsys, spoil, message):
    spoil(direct)
    assert message in refused(capsys)
    assert push_log.choose(Path("runs"), None).state == push_log.PUSHED  # still open: fetch again


def link() -> tarfile.TarInfo:
    member = tarfile.TarInfo(f"{RUN}/fold0/link")
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return member


@pytest.mark.slow
def test_an_error_page_as_output_changes_nothing(evening, capsys):
    evening.version.files["runs-1.tar"] = error(403, "Forbidden")
    refused(capsys)


@pytest.mark.slow
def test_a_traversal_name_changes_nothing(evening, capsys):
    evening.version.files["../../escaped.txt"] = b"evil"
    refused(capsys)
    assert not list(Path().resolve().parent.rglob("escaped.txt"))


def test_other_folds_or_settings_here_are_refused(direct, capsys):
    save_runs(Path("runs"), finished=(0,))
    (Path("runs") / RUN / "fold0" / "config.json").write_text('{"epochs": 2}')
    assert "fold0 has other settings than what the kernel trained under the name baseline_v1-small" in refused(capsys)
    Path("runs/folds.csv").write_bytes(fake_runs.TABLE.replace(b"\n0,0,0,0\n", b"\n0,0,0,1\n"))
    assert "holds other folds than the kernel trained on" in refused(capsys)


def test_a_failed_kernel_shows_the_logs_end_and_gives_what_it_finished_when_asked(direct, capsys):
    direct.version.states, direct.version.failure = ["ERROR"], "Script exited with code 1"
    direct.serve(final=False)
    message = refused(capsys)
    assert "version 1 failed (Script exited with code 1); end of its log: " in message
    assert "Traceback | 09:00:03 MemoryError; folds that it finished: 0, 1, 2; take what there is with" in message
    direct.version.files.pop("manifest.json")
    assert refused(capsys).endswith("MemoryError\n")
    direct.serve(final=False, failed=(2,))
    assert commands.main(["fetch", "--partial"]) == 2  # what there is has come home, but a fold is missing
    told = capsys.readouterr()
    assert "fold0: out of fold " in told.out and told.err.count("\n") == 1
    assert f"version 1: folds that failed on Kaggle: {RUN} 2; what the others saved is in place, and the " in told.err
    assert push_log.read(Path("runs"))[0].state == push_log.FETCHED
    assert finished_folder.is_finished(Path("runs", RUN, "fold0"))


@pytest.mark.slow
def test_a_stale_end_of_an_older_version_is_told_as_such(evening, capsys, monkeypatch):
    """Kaggle answers for version 1 while version 2 was just pushed: status says so, run waits it out."""
    monkeypatch.setattr(Client, "knows_versions", False)
    push_log.put(Path("runs"), entry("20260131T130000-cccccccc", version=2))
    second = KernelVersion(evening.push.ref, 2, {}, log=evening.version.log, states=["COMPLETE"])
    evening.site.kernels[evening.push.ref].append(second)
    output = save_output(evening.folder / "second", "20260131T130000-cccccccc", evening.trained)
    second.files = dict(files_of(output))
    evening.site.stale_polls = 1
    assert commands.main(["status"]) == 0
    assert "version 2: complete" in (told := capsys.readouterr().out)
    assert "this may be the end of another version" in told and "next: python -m kernels fetch" in told
    evening.site.stale_polls = 2
    assert "its output is of run id 20260131T120000-aaaaaaaa (2026-01-31T12:00:00Z), this push has" in refused(capsys)
    assert commands.main(["fetch"]) == 0


@pytest.mark.slow
def test_run_waits_out_a_stale_end_and_stops_at_its_deadline(evening, capsys, monkeypatch):
    site, ref = evening.site, "player/fer-kit-small"
    monkeypatch.setattr(Client, "knows_versions", False)
    clock = [0.0]
    monkeypatch.setattr(push, "_clock", lambda: clock[0])
    monkeypatch.setattr(push, "_sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))

    def on_push(version: KernelVersion) -> None:
        run_id = version.source.partition('RUN_ID = "')[2].partition('"')[0]
        version.files = dict(files_of(save_output(evening.folder / run_id, run_id, evening.trained)))

    site.on_push, site.stale_polls = on_push, 3  # state and output of version 1, then its state again
    argv = ["run", *SMALL, "--folds", "0-2", "--title", "fer-kit small", "--yes"]
    assert commands.main(argv) == 0
    told = capsys.readouterr().out
    assert "version 2: complete, pushed 0 minutes ago; this may be the end of another version" in told
    assert folders.status("runs", RUN).complete and clock[0] >= 30

    site.on_push = lambda version: version.states.__setitem__(0, "SOMETHING_NEW")
    assert commands.main([*argv, "--deadline-minutes", "3"]) == 2
    out, err = capsys.readouterr()
    assert f"{ref} had not ended after 3 minutes" in err and "python -m kernels status" in err
    assert out.count("version 3: unknown (Kaggle says 'SOMETHING_NEW')") == 1  # one line until it changes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("response", "message"),
    [
        (reply_json({"error": "Maximum batch GPU session count of 2 reached."}), "session"),
        (reply_json({"error": "The accelerator is not available"}), "accelerator is not available"),
        (error(401, "Unauthorized"), "credentials"),
    ],
)
def test_a_refused_push_is_not_recorded_as_pushed(evening, capsys, response, message):
    evening.site.fail("SaveKernel", response)
    assert commands.main(["push", *SMALL, "--folds", "0"]) == 2
    assert message in capsys.readouterr().err.lower()
    assert [p.state for p in push_log.read(Path("runs"))] == [push_log.PUSHED, push_log.BUILT]
    assert json.loads(Path("runs/kernels.json").read_text())["schema"] == 1


def test_status_and_fetch_need_something_to_look_at(evening, capsys):
    assert commands.main(["status", "--runs", "nowhere"]) == 2
    assert "nowhere/kernels.json: nothing was pushed from here yet" in capsys.readouterr().err
    assert commands.main(["status", "fer-kit-smal"]) == 2
    assert "no kernel 'fer-kit-smal' (did you mean 'fer-kit-small'?); there are" in capsys.readouterr().err
    Path("runs/kernels.json").write_text('{"schema": 9}')
    assert commands.main(["status"]) == 2
    assert "not a log of pushes" in capsys.readouterr().err


@pytest.mark.slow
def test_each_version_has_its_own_state_and_output(evening, capsys):
    """The client can ask for a version: the first push is fetched after the second, and no end is taken for another."""
    if not Client().knows_versions:
        pytest.skip("this version of the Kaggle client cannot ask for a version of a kernel; 2.2.5 can")
    push_log.put(Path("runs"), entry("20260131T130000-cccccccc", version=2))
    push_log.put(Path("runs"), entry("20260131T140000-dddddddd", version=3))
    for number, run_id, state in (
        (2, "20260131T130000-cccccccc", "COMPLETE"),
        (3, "20260131T140000-dddddddd", "RUNNING"),
    ):
        version = KernelVersion(evening.push.ref, number, {}, states=[state])
        version.files = dict(files_of(save_output(evening.folder / run_id, run_id, evening.trained)))
        evening.site.kernels[evening.push.ref].append(version)
    assert commands.main(["status", "20260131T130000-cccccccc"]) == 0
    told = capsys.readouterr().out
    assert "version 2: complete" in told and "older version" not in told
    assert commands.main(["fetch", "20260131T130000-cccccccc"]) == 0
    assert "run id 20260131T130000-cccccccc" in capsys.readouterr().out
    assert "has not ended (running)" in refused(capsys, "20260131T140000-dddddddd")
    assert commands.main(["status", evening.push.run_id]) == 0
    assert "version 1: complete" in capsys.readouterr().out
    assert commands.main(["fetch", evening.push.run_id]) == 0
    assert "version 1: run id 20260131T120000-aaaaaaaa" in capsys.readouterr().out


def test_a_push_over_a_version_that_is_not_fetched_asks(direct, capsys, monkeypatch):
    opened = [direct.push]
    push.refuse_open(opened, "player/another", yes=False)
    push.refuse_open(opened, direct.push.ref, yes=True)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    with pytest.raises(FerKitError, match=r"not pushed; fetch the open version .* 20260131T120000-aaaaaaaa"):
        push.refuse_open(opened, direct.push.ref, yes=False)
    assert "was pushed 0 minutes ago and is not fetched" in capsys.readouterr().out
    monkeypatch.setattr("builtins.input", lambda question: "y")
    push.refuse_open(opened, direct.push.ref, yes=False)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(push, "_clock", lambda: now[0])
    monkeypatch.setattr(push, "_sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


TROUBLE = [
    NetworkGone("Kaggle cannot be reached; run this command again"),
    ServerTrouble("503; again"),
    TimedOut("slow"),
]


def test_waiting_goes_on_through_hours_of_trouble(direct, capsys, clock, monkeypatch):
    """`run` does not give up before its deadline, and never says to run the same command, which pushes again."""
    answers = [KernelState("running", "RUNNING", ""), *TROUBLE * 40, KernelState("complete", "COMPLETE", "")]

    def state(ref: str) -> KernelState:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(direct, "kernel_state", state)
    assert push.wait(direct, direct.push, Path("runs"), 600.0, lambda: True).word == "complete"
    assert 7200 <= clock[0] < 8000 and "no answer, asking again (Kaggle cannot be reached)" in capsys.readouterr().out

    answers[:] = TROUBLE * 10
    with pytest.raises(TimedOut) as caught:
        push.wait(direct, direct.push, Path("runs"), 10.0, lambda: True)
    message = str(caught.value)
    assert "continues on Kaggle" in message and "run this command again" not in message
    assert f"kernels status {direct.push.run_id}" in message and f"kernels fetch {direct.push.run_id}" in message

    answers[:] = [NoCredentials("Kaggle refuses the credentials")]  # no waiting mends that
    with pytest.raises(NoCredentials):
        push.wait(direct, direct.push, Path("runs"), 600.0, lambda: True)


def test_the_download_after_waiting_is_tried_again_too(direct, capsys, clock):
    answers: list[Exception | None] = [*TROUBLE, Stalled("no byte"), None]

    def fetch() -> None:
        if (answer := answers.pop(0)) is not None:
            raise answer

    push.patiently(fetch, direct.push, Path("some runs"))
    assert clock[0] == 4 * push.POLL_SECONDS
    answers[:] = [TROUBLE[0]] * push.FETCH_ATTEMPTS
    with pytest.raises(TimedOut, match=r"has ended, but .* kernels fetch 2026\S+ --runs 'some runs'") as caught:
        push.patiently(fetch, direct.push, Path("some runs"))
    assert "run this command again" not in str(caught.value)


def test_ctrl_c_while_waiting_says_how_to_go_on(direct, capsys, clock, monkeypatch):
    def interrupted(ref: str) -> KernelState:
        raise KeyboardInterrupt

    monkeypatch.setattr(direct, "kernel_state", interrupted)
    with pytest.raises(KeyboardInterrupt):
        push.wait(direct, direct.push, Path("runs"), 600.0, lambda: True)
    assert f"continues on Kaggle; download the results with python -m kernels fetch {direct.push.run_id}" in (
        capsys.readouterr().out
    )
