"""Streams that vanish, encodings, signals, missing folders: the work goes on, and the exit code tells the truth."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fer_kit import cli, output
from fer_kit.errors import FerKitError
from fer_kit.folds import __main__ as folds_command
from fer_kit.train.log import Log

ROOT = Path(__file__).resolve().parents[1]
PRINTS_THEN_WORKS = """
import sys
from pathlib import Path
from fer_kit import cli

def body(args):
    for number in range(3):
        print("line", number, "…", flush=True)
    print("x" * 100_000)
    print("y" * 100_000, file=sys.stderr)
    Path("done").write_text("yes")

raise SystemExit(cli.run(lambda: cli.parser("x", "y"), body, []))
"""
WAITS = """
import sys, time
from fer_kit import cli
from fer_kit.files import atomic

def body(args):
    with atomic.replacing("product") as file:
        print("ready", flush=True)
        time.sleep(60)

raise SystemExit(cli.run(lambda: cli.parser("x", "y"), body, []))
"""


def answer_signals() -> None:
    """Undo what a background job and nohup have inherited to this process: that SIGINT and SIGHUP are ignored."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def start(program: str, folder: Path, **options: object) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}  # type: ignore[dict-item]
    return subprocess.Popen(
        [sys.executable, "-c", program], cwd=folder, env=environ, text=True, encoding="utf-8", **options
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_does_not_end_the_work(tmp_path, unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    process = start(PRINTS_THEN_WORKS, tmp_path, stdout=writer, stderr=writer, env={"PYTHONUNBUFFERED": unbuffered})
    os.close(writer)
    assert process.wait() == 0
    assert (tmp_path / "done").read_text() == "yes"


def test_closed_streams_do_not_end_the_work_and_no_file_takes_their_numbers(tmp_path):
    shell = ["sh", "-c", 'exec "$0" -c "$1" >&- 2>&- <&-', sys.executable, PRINTS_THEN_WORKS]
    done = subprocess.run(shell, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0
    assert (tmp_path / "done").read_text() == "yes"


def test_a_terminal_that_goes_away_does_not_end_the_work(tmp_path):
    ours, theirs = pty.openpty()
    process = start(PRINTS_THEN_WORKS, tmp_path, stdout=theirs, stderr=theirs, stdin=theirs)
    os.close(theirs)
    assert b"line" in os.read(ours, 100)
    os.close(ours)
    assert process.wait() == 0
    assert (tmp_path / "done").read_text() == "yes"


def test_the_log_of_a_training_goes_on_in_its_file(tmp_path, monkeypatch):
    """Also in Python, where no command protects the streams."""
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", buffering=1) as broken:
        for stdout in (broken, None):
            monkeypatch.setattr("sys.stdout", stdout)
            Log(tmp_path / "log.txt")("epoch 1")
            monkeypatch.undo()
        with contextlib.suppress(BrokenPipeError):
            broken.close()
    assert [line.split(" ", 1)[1] for line in (tmp_path / "log.txt").read_text().splitlines()] == ["epoch 1"] * 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_text_that_a_full_disk_refused_is_told_after_the_work(tmp_path):
    with open("/dev/full", "w") as full:
        process = start(PRINTS_THEN_WORKS, tmp_path, stdout=full, stderr=subprocess.PIPE)
    _, told = process.communicate()
    assert process.returncode == 2 and "error: the output: No space left on device" in told
    assert (tmp_path / "done").read_text() == "yes"


def test_characters_that_the_terminal_does_not_have_are_replaced(tmp_path):
    process = start(PRINTS_THEN_WORKS, tmp_path, stdout=subprocess.PIPE, env={"PYTHONIOENCODING": "ascii"})
    shown, _ = process.communicate()
    assert process.returncode == 0 and shown.startswith("line 0 ...\n")


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "ended by SIGTERM"),
        (signal.SIGHUP, 129, "ended by SIGHUP"),
    ],
)
def test_signals_have_a_line_and_a_code_and_leave_no_temporary_file(tmp_path, number, code, words):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = start(WAITS, tmp_path, preexec_fn=answer_signals, **pipes)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, told = process.communicate()
    assert (process.returncode, told) == (code, f"{words}\n")
    assert list(tmp_path.iterdir()) == []


def test_an_ignored_signal_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run(lambda: os.kill(os.getpid(), signal.SIGHUP)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_forked_child_dies_of_the_signal_and_does_not_clean_up():
    def body() -> None:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.write(writer, b".")
                time.sleep(60)
            finally:  # whatever a handler raises, the child never goes on with the tests
                os._exit(0)
        os.read(reader, 1)
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM

    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Ray, for one, leaves a handler of its own
    try:
        assert run(body) == 0
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def run(body: Callable[[], object]) -> int:
    return cli.run(lambda: cli.parser("x", "y"), lambda args: body() and None, [])


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"),
        OSError("Matplotlib requires access to a cache, and a temporary directory cannot be created"),
    ],
)
def test_a_missing_temporary_folder_is_one_line_that_names_the_variable(capsys, error):
    def body() -> None:
        raise error

    assert run(body) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "TMPDIR" in told


def test_a_removed_current_folder_is_named(tmp_path, monkeypatch, capsys):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert folds_command.main([]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "current folder was removed" in told


@pytest.mark.parametrize(
    ("prefix", "text", "shown"),
    [
        ("fer-kit", "next: python -m fer_kit.train --fold 0", "next: fer-kit train --fold 0"),
        ("fer-kit", "ask python -m submissions status.", "ask fer-kit submissions status."),
        ("fer-kit", "see python -m fer_kit.listing.runs.", "see fer-kit runs."),
        ("fer-kit", "python -m fer_kit.track.tracker x", "python -m fer_kit.track.tracker x"),
        ("", "see fer-kit settings", "see python -m fer_kit.listing.settings"),
        ("", "the fer-kit way, my-fer-kit runs", "the fer-kit way, my-fer-kit runs"),
        (
            "python -m fer_kit",
            "fer-kit runs or python -m ensembles.blend",
            "python -m fer_kit runs or python -m fer_kit blend",
        ),
    ],
)
def test_printed_commands_have_the_form_that_was_typed(prefix, text, shown):
    assert output.Streams(prefix).commands_as_typed(text) == shown


def test_no_help_has_colours():
    """Python 3.14 would colour them, and the codes would be spelt out."""
    assert cli.parser("python -m fer_kit.folds", "About.").color is False


def test_errors_and_help_name_the_command_as_typed(capsys):
    def refused() -> int:
        raise FerKitError("train it first: python -m fer_kit.train --fold 0")

    assert cli.exit_code_of(refused, "fer-kit") == 2
    assert capsys.readouterr().err == "error: train it first: fer-kit train --fold 0\n"
    assert cli.exit_code_of(refused) == 2
    assert capsys.readouterr().err == "error: train it first: python -m fer_kit.train --fold 0\n"


def test_json_is_printed_as_it_is_and_text_is_dropped(capsys):
    def build() -> cli.Parser:
        parser = cli.parser("x", "y")
        cli.add_output_options(parser, "print nothing")
        return parser

    def body(args: object) -> dict[str, str]:
        print("for people")
        return {"command": "python -m fer_kit.train", "name": "größe"}

    command = cli.data_command(body)
    shown = {}
    for words in ([], ["--json"], ["--quiet"]):
        assert cli.exit_code_of(lambda words=words: cli.run(build, command, words), "fer-kit") == 0  # type: ignore[misc]
        shown[" ".join(words)] = capsys.readouterr().out
    assert shown[""] == "for people\n" and shown["--quiet"] == ""
    assert shown["--json"] == '{\n  "command": "python -m fer_kit.train",\n  "name": "gr\\u00f6\\u00dfe"\n}\n'
    assert cli.run(build, command, ["--json", "--quiet"]) == 2
