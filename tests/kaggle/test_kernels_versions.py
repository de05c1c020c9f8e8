"""Whose state and whose output Kaggle gives: versions by their number, failures that are certain, folds that failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fer_kit.kaggle.client import KernelState
from fer_kit.kaggle.errors import UnknownSlug
from fer_kit.runs import finished_folder
from kernels import __main__ as commands
from kernels import push, push_log
from tests.helpers.fetching import LOG, refused
from tests.helpers.pushed_kernels import RUN, entry

SECOND = "20260131T130000-cccccccc"


def test_folds_that_failed_do_not_keep_the_others_from_coming_home(direct, capsys):
    """The script ends without an error, so that Kaggle keeps the archive; the manifest says what failed."""
    direct.serve(finished=(0, 1), failed=(2,))
    assert commands.main(["fetch"]) == 2
    told = capsys.readouterr()
    assert f"version 1: folds that failed on Kaggle: {RUN} 2; what the others saved is in place, and the " in told.err
    assert f"the log at {direct.push.url} says why" in told.err
    assert finished_folder.is_finished(Path("runs", RUN, "fold0"))
    assert push_log.read(Path("runs"))[0].state == push_log.FETCHED


@pytest.mark.parametrize("state", ["CANCELLED", "ERROR"])
def test_what_was_saved_when_all_folds_had_ended_is_fetched_whatever_the_state(direct, capsys, state):
    direct.version.states = [state]
    assert commands.main(["fetch"]) == 0
    assert capsys.readouterr().out.count("out of fold") == 3


def test_the_first_version_is_asked_for_by_its_number(direct):
    direct.knows_versions = True
    assert commands.main(["status"]) == 0
    assert commands.main(["fetch"]) == 0
    assert direct.asked == [f"{direct.push.ref}/1"] * 3

    direct.knows_versions, direct.asked = False, []
    assert commands.main(["fetch", direct.push.run_id]) == 0
    assert direct.asked == [direct.push.ref] * 2


def test_an_end_of_the_first_version_may_be_that_of_a_later_one(direct, monkeypatch):
    """The client can ask for a version, and Kaggle does not know it: then the state is that of the newest version."""

    def state(ref: str) -> KernelState:
        if ref.count("/") == 2:
            raise UnknownSlug("no such version")
        return KernelState("complete", "COMPLETE", "")

    monkeypatch.setattr(direct, "kernel_state", state)
    direct.knows_versions = True
    assert push.look(direct, direct.push, Path("runs"))[1] is False
    direct.knows_versions = False
    assert push.look(direct, direct.push, Path("runs"))[1] is True
    push_log.put(Path("runs"), entry(SECOND, version=2))
    assert push.look(direct, push_log.choose(Path("runs"), direct.push.run_id), Path("runs"))[1] is False


@pytest.mark.parametrize("word", ["ERROR", "CANCELLED"])
@pytest.mark.parametrize("words", [(), ("--partial",)])
def test_a_failure_that_is_certain_is_told_in_place_of_an_older_output(direct, capsys, word, words):
    """Of a version that failed Kaggle gives the output of an older one, for ever."""
    push_log.put(Path("runs"), entry(SECOND, version=2))
    direct.version.states, direct.version.failure = [word], "Script exited with code 1"
    assert "the output belongs to an older version" in refused(capsys, SECOND, *words)  # may be the first one's state
    direct.knows_versions = True
    ended = {"ERROR": "failed", "CANCELLED": "was cancelled"}[word]
    message = refused(capsys, SECOND, *words)
    assert f"version 2 {ended} (Script exited with code 1); end of its log: Kaggle sent none; see https://" in message

    direct.version.log = LOG.format(SECOND)
    assert "end of its log: 09:00:01 fold 0 | epoch 1 | 09:00:02 Trace" in refused(capsys, SECOND, *words)
    direct.version.files.pop("manifest.json")
    assert "MemoryError" in refused(capsys, SECOND, *words)
    direct.version.log = LOG.format(direct.push.run_id)
    assert "MemoryError" not in refused(capsys, SECOND, *words)
    direct.version.states = ["COMPLETE"]
    assert "its log is that of an older version; fetch again in a minute" in refused(capsys, SECOND, *words)


def test_a_log_that_breaks_off_is_still_that_of_the_push(direct, capsys):
    record = r'[{"stream_name":"stdout","time":1.0,"data":"09:00:00 run id   RUN_ID\n"}'
    direct.version.log = record.replace("RUN_ID", direct.push.run_id)
    direct.version.states = ["ERROR"]
    direct.version.files.pop("manifest.json")
    assert f"version 1 failed; end of its log: {direct.version.log}" in refused(capsys)
