import pytest

from fer_kit.auto import steps
from fer_kit.errors import FerKitError


def test_shell_prints_what_the_command_prints_without_the_next_command(competition_dir, tmp_path, capsys):
    steps.shell("fer_kit.folds", "--data", str(competition_dir), "--runs", str(tmp_path), "--folds", "3")
    printed = capsys.readouterr().out
    assert (tmp_path / "folds.csv").exists()
    assert printed.startswith("images")
    assert "next:" not in printed


def test_shell_names_the_command_that_failed(tmp_path, capfd):
    with pytest.raises(FerKitError, match=r"python -m fer_kit\.folds .* failed, see above"):
        steps.shell("fer_kit.folds", "--data", str(tmp_path / "missing"), "--runs", str(tmp_path / "runs"))
    assert "missing" in capfd.readouterr().err


def test_a_signal_ends_the_command_too(monkeypatch):
    class Ended(BaseException):
        pass

    def ends(*words, **options):
        raise Ended

    started = []
    popen = steps.subprocess.Popen
    monkeypatch.setattr(
        steps.subprocess, "Popen", lambda *words, **more: started.append(popen(*words, **more)) or started[0]
    )
    monkeypatch.setattr(steps.programs, "python", lambda *words: ["sh", "-c", "echo begun; sleep 60"])
    monkeypatch.setattr("builtins.print", ends)
    with pytest.raises(Ended):
        steps.shell("any")
    assert started[0].returncode == -9
