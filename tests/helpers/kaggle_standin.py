"""A server on loopback that speaks Kaggle's protocol to the unmodified `kaggle` program: state and answers.

The client reaches it as its HTTP proxy: it asks for `http://localhost/api/v1/<service>/<Method>` and, for files, for
`http://storage.standin/…`, and every request for any other host is noted in `leaks` and refused.
`tests/helpers/kaggle_fixture.py` wraps it for tests; `tests/helpers/kaggle_wire.py` moves the bytes.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.helpers.kaggle_wire import DROP, STORAGE, Dropped, Reply, Request, serve

__all__ = ["DROP", "Dropped", "KernelVersion", "Reply", "Request", "StandIn", "error", "html", "reply_json"]

SOURCE_CAP_BYTES = 1_000_000
WEB = "https://www.kaggle.com"


def reply_json(value: Any, status: int = 200, **headers: str) -> Reply:
    """A JSON answer; `Retry_After="7"` becomes a header."""
    headers = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status, {"Content-Type": "application/json", **headers}, json.dumps(value).encode())


def error(status: int, message: str, **headers: str) -> Reply:
    """An error as Kaggle's API words it. The client prints the message alone."""
    return reply_json({"code": status, "message": message}, status, **headers)


def html(status: int = 200, text: str = "Checking your browser", kind: str = "text/html; charset=utf-8") -> Reply:
    """A web page where data is due."""
    page = f"<!DOCTYPE html>\n<html><head><title>{text}</title></head><body>{text}</body></html>"
    return Reply(status, {"Content-Type": kind}, page.encode())


@dataclass
class KernelVersion:
    """One push. `request` is what the client sent; `on_push` fills in the rest.

    files: name → bytes, or a Reply where the file's address answers something else. states: what status answers,
    one after the other, the last for ever.
    """

    ref: str
    number: int
    request: dict[str, Any]
    files: dict[str, bytes | Reply] = field(default_factory=dict)
    log: str = ""
    states: list[str] = field(default_factory=lambda: ["COMPLETE"])
    failure: str = ""

    @property
    def source(self) -> str:
        return self.request.get("text", "")


class StandIn:
    """State of the pretended Kaggle. Change it before the client calls; look at it afterwards.

    Attributes:
        zip_bytes: what `competitions download` fetches.
        kernels: "owner/slug" → its pushed versions, oldest first.
        on_push: called with each new KernelVersion before push is answered; runs the script, fills files and states.
        page_cap: the largest page of a kernel's output files.
        stale_polls: how many status and output calls after a push still answer for the version before it.
        submissions: entries as the API gives them, newest first; uploads: their bytes, by ref.
        judge: bytes of an uploaded file → fields of its entry once scored; pending_polls: lists until then.
        limits: what GetSubmissionLimits answers; counted on with each entry, which is refused when none is left.
        requests, leaks: all requests, and those for foreign hosts ("CONNECT example.org:443").
    """

    def __init__(self, username: str = "player", key: str = "0123456789abcdef-planted-key") -> None:
        self.username, self.key, self.token = username, key, "KGAT_planted-token"
        self.competition = "challenges-in-representation-learning-facial-expression-recognition-challenge"
        self.zip_bytes = b""
        self.kernels: dict[str, list[KernelVersion]] = {}
        self.on_push: Callable[[KernelVersion], None] = lambda version: None
        self.stale_polls = 0
        self.page_cap = 200
        self.submissions: list[dict[str, Any]] = []
        self.uploads: dict[int, bytes] = {}
        self.judge: Callable[[bytes], dict[str, Any]] = lambda content: {
            "status": "COMPLETE",
            "publicScore": "0.71161",
            "privateScore": "0.70882",
        }
        self.pending_polls = 0
        self.limits: dict[str, int] = {"numToday": 0, "numTotal": 0, "numAllowedNow": 2}
        self.quota: dict[str, Any] = {
            "quotaRefreshTime": "2026-11-28T00:00:00Z",
            "gpuQuota": {"timeUsed": "3600s", "totalTimeAllowed": "108000s"},
        }
        self.requests: list[Request] = []
        self.leaks: list[str] = []
        self.bugs: list[BaseException] = []  # of on_push and judge; the fixture raises them at the end
        self.url = ""
        self._failures: dict[str, list[Reply | Dropped]] = defaultdict(list)
        self._stored: dict[str, bytes] = {}
        self._lock = threading.RLock()

    # --- for tests -------------------------------------------------------------------------------------------------

    def fail(self, method: str, response: Reply | Dropped, times: int = 1) -> None:
        """Answer the next `times` calls of `method` with `response` instead.

        `method` is a name such as "SaveKernel", or "zip", "output", "upload" for the transfers of files. `DROP`
        closes the connection without an answer; `Dropped(after=True)` does so after the call took effect;
        `Reply(…, delay_seconds=2)` answers late.
        """
        self._failures[method] += [response] * times

    def calls(self, method: str) -> list[Request]:
        """The requests for `method`, in order."""
        return [request for request in self.requests if request.name == method]

    @contextmanager
    def running(self) -> Iterator[StandIn]:
        """Serve on a free port of 127.0.0.1; `url` is then what `http_proxy` must be."""
        with serve(self.answer, self.leaks) as self.url:
            yield self

    # --- answers ---------------------------------------------------------------------------------------------------

    def answer(self, request: Request) -> Reply | Dropped:
        """The reply to one request."""
        with self._lock:
            self.requests.append(request)
            planned = self._failures[request.name]
            response = planned.pop(0) if planned else None
        if isinstance(response, Reply) or response == DROP:
            return response
        reply = self._answer(request)
        return reply if response is None else response

    def _answer(self, request: Request) -> Reply:
        if request.name in ("zip", "output", "upload"):
            return getattr(self, f"_{request.name}")(request)
        if request.name == "IntrospectToken":
            known = request.json["token"] == self.token
            return reply_json({"active": True, "username": self.username} if known else {"active": False})
        basic = base64.b64encode(f"{self.username}:{self.key}".encode()).decode()
        if request.headers.get("Authorization") not in (f"Basic {basic}", f"Bearer {self.token}"):
            return error(401, "Unauthorized")
        answer = getattr(self, "_" + re.sub(r"(?<!^)(?=[A-Z])", "_", request.name).lower(), None)
        if answer is None:
            return error(404, "Not Found")
        with self._lock:
            return answer(request.json)

    def _known(self, sent: dict[str, Any]) -> Reply | None:
        if sent["competitionName"] == self.competition:
            return None
        return error(403, "Permission 'competitions.get' was denied")

    def _download_data_files(self, sent: dict[str, Any]) -> Reply:
        address = f"http://{STORAGE}/zip/{sent['competitionName']}.zip?Expires=1&Signature=planted-signature"
        return self._known(sent) or Reply(302, {"Location": address}, b"")

    def _zip(self, request: Request) -> Reply:
        content = self.zip_bytes
        headers = {
            "Content-Type": "application/zip",
            "Last-Modified": "Wed, 11 Dec 2019 05:11:16 GMT",
            "ETag": '"planted"',
            "Accept-Ranges": "bytes",
        }
        start = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        if start is None:
            return Reply(200, headers, content)
        first = int(start[1])
        headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        return Reply(206, headers, content[first:])

    def _save_kernel(self, sent: dict[str, Any]) -> Reply:
        if len(sent.get("text", "").encode()) > SOURCE_CAP_BYTES:
            return reply_json({"error": "The source of the kernel is too large: at most 1 MB"})
        ref = sent["slug"]
        owner, _, slug = ref.partition("/")
        if owner != self.username:
            return reply_json({"error": "Kernel not found"})
        versions = self.kernels.setdefault(ref, [])
        if not versions and slug != re.sub(r"[^a-z0-9]+", "-", sent.get("newTitle", slug).lower()).strip("-"):
            del self.kernels[ref]
            return error(404, "Not found")
        version = KernelVersion(ref, len(versions) + 1, sent)
        versions.append(version)
        try:
            self.on_push(version)
        except BaseException as bug:
            self.bugs.append(bug)
            return error(500, "on_push failed")
        url = f"{WEB}/code/{ref}"
        return reply_json({"ref": f"/code/{ref}", "url": url, "versionNumber": version.number, "kernelId": 777})

    def _session(self, sent: dict[str, Any]) -> KernelVersion | None:
        versions = self.kernels.get(f"{sent['userName']}/{sent['kernelSlug']}", [])
        if label := sent.get("versionLabel"):  # "v2", from client 2.2.5 on
            number = int(label[1:])
            return versions[number - 1] if 0 < number <= len(versions) else None
        if len(versions) > 1 and self.stale_polls > 0:
            self.stale_polls -= 1
            return versions[-2]
        return versions[-1] if versions else None

    def _get_kernel_session_status(self, sent: dict[str, Any]) -> Reply:
        version = self._session(sent)
        if version is None:
            return error(403, "Permission 'kernels.get' was denied")
        state = version.states.pop(0) if len(version.states) > 1 else version.states[0]
        failure = {"failureMessage": version.failure} if version.failure and state == "ERROR" else {}
        return reply_json({"status": state, **failure})

    def _list_kernel_session_output(self, sent: dict[str, Any]) -> Reply:
        version = self._session(sent)
        if version is None:
            return error(403, "Permission 'kernels.get' was denied")
        first, size = int(sent.get("pageToken") or 0), min(int(sent.get("pageSize") or 20), self.page_cap)
        names = list(version.files)[first : first + size]
        base = f"http://{STORAGE}/output/{version.ref}/{version.number}"
        answer: dict[str, Any] = {"log": version.log}
        answer["files"] = [{"url": f"{base}/{first + n}?sig=planted", "fileName": f} for n, f in enumerate(names)]
        if first + size < len(version.files):
            answer["nextPageToken"] = str(first + size)
        return reply_json(answer)

    def _output(self, request: Request) -> Reply:
        owner, slug, number, index = request.path.split("/")[2:6]
        content = list(self.kernels[f"{owner}/{slug}"][int(number) - 1].files.values())[int(index)]
        return content if isinstance(content, Reply) else Reply(200, {"Content-Type": "binary/octet-stream"}, content)

    def _get_accelerator_quota_statistics(self, sent: dict[str, Any]) -> Reply:
        return reply_json(self.quota)

    def _start_submission_upload(self, sent: dict[str, Any]) -> Reply:
        token = f"token-{len(self.calls('StartSubmissionUpload'))}-{sent['fileName']}"
        create = f"http://{STORAGE}/upload/{token}?upload_id=planted-upload-id"
        return self._known(sent) or reply_json({"token": token, "createUrl": create})

    def _upload(self, request: Request) -> Reply:
        self._stored[request.path.split("/")[2]] = request.body
        return reply_json({})

    def _create_submission(self, sent: dict[str, Any]) -> Reply:
        if self._known(sent):
            return error(403, "Permission 'competitions.participate' was denied")
        if self.limits["numAllowedNow"] < 1:
            return error(400, "Your team has used its daily Submission allowance (2) today, please try again tomorrow")
        token = sent["blobFileTokens"]
        ref = 50_000_001 + len(self.submissions)
        self.uploads[ref] = self._stored[token]
        entry = {"ref": ref, "fileName": token.split("-", 2)[2], "date": f"2026-11-23T20:{ref % 60:02d}:00Z"}
        entry |= {"description": sent.get("submissionDescription", ""), "status": "PENDING"}
        self.submissions.insert(0, entry | {"publicScore": "", "privateScore": "", "polls": self.pending_polls})
        self.limits["numToday"] += 1
        self.limits["numTotal"] += 1
        self.limits["numAllowedNow"] -= 1
        name = "Challenges in Representation Learning: Facial Expression Recognition Challenge"
        return reply_json({"message": f"Successfully submitted to {name}", "ref": ref})

    def _get_submission_limits(self, sent: dict[str, Any]) -> Reply:
        return self._known(sent) or reply_json(self.limits)

    def _list_submissions(self, sent: dict[str, Any]) -> Reply:
        if refused := self._known(sent):
            return refused
        for entry in self.submissions:
            if entry.get("polls", -1) == 0 and entry["ref"] in self.uploads:
                entry.update(self.judge(self.uploads[entry["ref"]]))
            if "polls" in entry:
                entry["polls"] -= 1
        size = int(sent.get("pageSize") or 20)
        first = int(sent.get("pageToken") or 0)
        shown = [{k: v for k, v in e.items() if k != "polls"} for e in self.submissions[first : first + size]]
        return reply_json({"submissions": shown})
