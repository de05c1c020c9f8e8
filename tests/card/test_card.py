"""Model cards: the scores of the files, metadata that the hub reads, an upload to a stand-in of the hub."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import yaml

from fer_kit.card import __main__ as card_command
from fer_kit.card import facts, hub, markdown
from fer_kit.errors import FerKitError
from fer_kit.files import atomic
from fer_kit.folds import fold_spec
from fer_kit.runs import finished_folder, folders, predictions
from tests.classify.conftest import FIRST_VERSION


def text_of(name: str) -> str:
    return markdown.card(facts.gather(FIRST_VERSION, name))


def metadata_of(text: str) -> dict:
    return yaml.safe_load(text.split("---")[1])


@pytest.mark.parametrize("name", ["residual-small/fold0", "residual-small", "blends/old"])
def test_a_card_has_the_scores_settings_and_limits(name):
    text = text_of(name)
    found = facts.gather(FIRST_VERSION, name)
    assert f"| accuracy | {found.scores.accuracy:.2%} |" in text and "Not for judging persons" in text
    assert found.data_digest in text and found.folds_digest in text and "65%" in text
    assert "`residual-small`: recipe `residual`, network `residual`" in text and "width_mult=0.125" in text
    for one in found.scores.classes:
        assert f"| {one.name} | {one.rows:,} |" in text
    about = metadata_of(text)
    [entry] = about["model-index"]
    assert entry["results"][0]["metrics"][0] == {
        "type": "accuracy", "value": round(found.scores.accuracy, 4), "name": "Out-of-fold accuracy"
    }  # fmt: skip
    assert about["license"] == "mit" and about["library_name"] == "fer_kit"


def test_scores_are_those_of_the_held_out_rows():
    part = predictions.read(FIRST_VERSION / "residual-small/fold0/oof.npz")
    found = facts.gather(FIRST_VERSION, "residual-small/fold0")
    assert found.scores.accuracy == np.mean(part.logits.argmax(1) == part.labels) and found.twins
    blend = folders.load_blend(FIRST_VERSION, "old")
    assert facts.gather(FIRST_VERSION, "old").scores.accuracy == pytest.approx(blend.record.oof_accuracy)


def test_the_hub_reads_the_metadata():
    huggingface_hub = pytest.importorskip("huggingface_hub")
    card = huggingface_hub.ModelCard(text_of("residual-small"))
    assert card.data.pipeline_tag == "image-classification" and card.data.eval_results[0].metric_type == "accuracy"


def test_a_run_without_held_out_rows_has_no_scores(tmp_path):
    import shutil

    fold = tmp_path / "only" / "foldall"
    shutil.copytree(FIRST_VERSION / "residual-small/fold0", fold)
    (fold / "oof.npz").unlink()
    result = atomic.read_json(fold / finished_folder.RESULT)
    atomic.write_json(fold / finished_folder.RESULT, {**result, "fold": fold_spec.FULL, "run": "only"})
    text = markdown.card(facts.gather(tmp_path, "only/foldall"))
    assert "Of nothing: every row was trained on." in text and "model-index" not in text


class Hub(BaseHTTPRequestHandler):
    """Answers what huggingface_hub asks when it makes a repository and a commit."""

    def log_message(self, *words):
        """Quiet."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.path, self.headers.get("Authorization"), body))
        if self.server.refuse:
            return self.answer({"error": "Invalid username or password."}, 401)
        url = f"http://127.0.0.1:{self.server.server_port}/me/faces"
        if self.path.endswith("/repos/create"):
            return self.answer({"url": url, "name": "me/faces", "id": "me/faces"})
        if "/preupload/" in self.path:
            files = json.loads(body)["files"]
            return self.answer(
                {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in files]}
            )
        if "/commit/" in self.path:
            return self.answer({"commitUrl": f"{url}/commit/{'1' * 40}", "commitOid": "1" * 40, "success": True})
        return self.answer({})

    def do_GET(self):
        self.answer({})

    def answer(self, value, status=200):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def site(monkeypatch):
    """A hub on the loopback interface, and a token for it."""
    pytest.importorskip("huggingface_hub")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.asked, server.refuse = [], False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_push_makes_a_private_repository_with_card_and_files(site, tmp_path, capsys):
    (tmp_path / "a.onnx").write_bytes(b"onnx")
    words = ["residual-small", "--runs", str(FIRST_VERSION), "--push", "me/faces", "--files", str(tmp_path / "a.onnx")]
    assert card_command.main(words) == 0
    assert f"uploaded to http://127.0.0.1:{site.server_port}/me/faces" in capsys.readouterr().out
    paths = [path for path, _, _ in site.asked]
    assert paths[0].endswith("/repos/create") and "/commit/" in paths[-1]
    made = json.loads(site.asked[0][2])  # older versions of huggingface_hub say private
    assert made.get("private") is True or made["visibility"] == "private"
    assert {token for _, token, _ in site.asked} == {"Bearer hf_test"}
    sent = [json.loads(line) for line in site.asked[-1][2].splitlines()]
    assert [one["value"]["path"] for one in sent if one["key"] == "file"] == ["README.md", "a.onnx"]


@pytest.mark.slow
def test_a_refused_push_is_one_line(site, capsys):
    site.refuse = True
    assert card_command.main(["residual-small", "--runs", str(FIRST_VERSION), "--push", "me/faces"]) == 2
    told = capsys.readouterr().err
    assert "--push me/faces" in told and "HF_TOKEN" in told and "hf_test" not in told and told.count("\n") == 1


@pytest.mark.parametrize("repo", ["faces", "a/b/c", "../x", "me/ faces", ""])
def test_names_of_repositories(repo):
    with pytest.raises(FerKitError, match="OWNER/NAME"):
        hub.check_repo(repo)


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--public"], "--public has no effect without --push"), (["--push", "a/b", "--files", "none"], "no such file")],
)
def test_usage_errors(words, said, capsys):
    assert card_command.main(["residual-small", "--runs", str(FIRST_VERSION), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_card_as_a_file(tmp_path, capsys):
    out = tmp_path / "card.md"
    assert card_command.main(["residual-small", "--runs", str(FIRST_VERSION), "--out", str(out)]) == 0
    assert out.read_text() == text_of("residual-small") and f"wrote {out}" in capsys.readouterr().out
