"""Whom a search tells of its end, of failures and of a new best: real commands, a real server, a real search."""

import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from audit import disagreements
from mlflow import MlflowClient

import hpo
from hpo import spec
from hpo.errors import NoUsableTrial, SpecError
from hpo.search.messenger import Message, Messenger, Undelivered, run_command, send
from hpo.search.notice import Notices
from hpo.search.running import Event

SECRET = "/services/T0000/B0000/quite-a-secret"


class Receiver(ThreadingHTTPServer):
    """A server that answers as it is told, the last answer again and again; `None`: not at all."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: list[int | None] = [200]
        self.got: list[dict[str, Any]] = []
        self.release = threading.Event()
        super().__init__(("127.0.0.1", 0), _Answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}{SECRET}"


class _Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Receiver)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.got.append({**json.loads(body), "path": self.path, "type": self.headers["Content-Type"]})
        answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        if answer is None:
            server.release.wait(60)
            return
        self.send_response(answer)
        if answer == 302:
            self.send_header("Location", f"http://127.0.0.1:{server.server_port}/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


def message(kind: str = "best", **more: Any) -> Message:
    return Message(event=kind, text="study s: said", study="s", metric="val/accuracy", host="here", **more)


def delivered(messenger: Messenger, *messages: Message, seconds: float = 10.0) -> list[str]:
    """Post and close; returns what was said of the receiver."""
    for each in messages:
        messenger.post(each)
    messenger.finish(time.monotonic() + seconds)
    messenger.join()
    return messenger.heard()


def webhook(url: str, every: float = 0.0) -> Messenger:
    return Messenger("hook", lambda message, left: send(url, message, left), every)


def test_a_webhook_gets_json_that_slack_shows_once_the_server_is_well(receiver: Receiver) -> None:
    receiver.answers = [500, 429, 200]
    said = delivered(webhook(receiver.url), message(facts={"trial": 3, "value": float("nan")}))
    assert len(receiver.got) == 3
    assert receiver.got[-1]["text"] == "study s: said"
    assert receiver.got[-1] | {"value": None, "trial": 3, "event": "best"} == receiver.got[-1]
    assert (receiver.got[-1]["path"], receiver.got[-1]["type"]) == (SECRET, "application/json")
    assert said == ["hook did not take a message: it answers 500; it is tried again; the search is not touched by it"]


@pytest.mark.parametrize("answer", [404, 302])
def test_what_a_server_refuses_for_good_is_not_tried_again_nor_sent_elsewhere(receiver: Receiver, answer: int) -> None:
    receiver.answers = [answer]
    said = delivered(webhook(receiver.url), message())
    assert [each["path"] for each in receiver.got] == [SECRET]
    assert said == [f"hook did not take a message: it answers {answer}; the search is not touched by it"]


def test_nobody_waits_for_a_server_that_hangs_or_is_away(receiver: Receiver) -> None:
    receiver.answers = [None]
    began = time.monotonic()
    said = delivered(webhook(receiver.url), message(), seconds=0.5)
    assert time.monotonic() - began < 2
    assert any("given up" in each for each in said), said
    away = webhook("http://127.0.0.1:1/away")
    assert any("refused" in each for each in delivered(away, message(), message("failure"), seconds=0.5))


def test_of_many_messages_the_newest_is_told_and_the_end_takes_the_place_of_all() -> None:
    told: list[str] = []
    first, go = threading.Event(), threading.Event()

    def deliver(given: Message, left: object) -> None:
        told.append(given.text)
        first.set()
        go.wait(10)

    def numbered(kind: str, number: int, *, last: bool = False) -> Message:
        return Message(event=kind, text=f"{kind} {number}", study="s", metric="m", host="h", last=last)

    slow = Messenger("slow", deliver, 0.0)
    slow.post(numbered("best", 0))
    assert first.wait(10)
    for number in range(1, 100):
        slow.post(numbered("best", number))
        slow.post(numbered("failure", number))
    go.set()
    assert delivered(slow) == []
    assert sorted(told) == ["best 0", "best 99", "failure 99"]

    told.clear()
    rare = Messenger("rare", deliver, 3600.0)
    assert delivered(rare, numbered("best", 0), numbered("best", 1), numbered("end", 2, last=True)) == []
    assert told[-1] == "end 2"
    assert "best 1" not in told


def test_a_command_is_told_without_a_shell_and_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "secret")
    monkeypatch.setenv("HPO_WEBHOOK", "https://host/secret")
    monkeypatch.setenv("TEAM_WEBHOOK_URL", "https://host/secret")
    code = "import json, os, sys; json.dump([sys.argv[1], json.load(sys.stdin), dict(os.environ)], open('told', 'w'))"
    monkeypatch.chdir(tmp_path)
    given = message(facts={"trial": 3, "value": 0.5, "params": {"lr": 0.1}})
    run_command([sys.executable, "-c", code, "$(touch made)"], given, lambda: 20.0)
    argument, told, environment = json.loads(Path("told").read_text())
    assert argument == "$(touch made)"
    assert not Path("made").exists()
    assert told == given.plain()
    assert told["params"] == {"lr": 0.1}
    expected = {
        "HPO_EVENT": "best",
        "HPO_STUDY": "s",
        "HPO_TRIAL": "3",
        "HPO_VALUE": "0.5",
        "HPO_TEXT": "study s: said",
    }
    assert environment | expected == environment
    assert not {"PGPASSWORD", "HPO_WEBHOOK", "TEAM_WEBHOOK_URL"} & environment.keys()


def ended(pid: str) -> bool:
    """Whether a process is gone, or only waits for its parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_command_that_fails_or_hangs_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(Undelivered, match="exit status 3, no screen"):
        run_command(["sh", "-c", "echo no screen >&2; exit 3"], message(), lambda: 10.0)
    with pytest.raises(Undelivered, match="No such file"):
        run_command(["no-such-program"], message(), lambda: 10.0)
    began, pids = time.monotonic(), tmp_path / "pid"
    end = began + 0.5
    with pytest.raises(Undelivered, match="did not end in time"):
        run_command(["sh", "-c", f"sleep 60 & echo $! > {pids}; wait"], message(), lambda: end - time.monotonic())
    assert time.monotonic() - began < 5
    while not ended(pids.read_text().strip()):  # a signal takes its time on a busy machine
        assert time.monotonic() - began < 10, "what it had started goes on"
        time.sleep(0.02)


def test_the_file_says_who_is_told_and_keeps_no_address() -> None:
    tree = {
        "name": "n",
        "metric": "val/accuracy",
        "sampler": "grid",
        "parameters": {"lr": [0.1]},
        "trainer": {"import": "synthetic:curve"},
    }
    head = "\n".join(f"{key}: {json.dumps(value)}" for key, value in tree.items())
    url = f"https://hooks.slack.com{SECRET}"
    literal = spec.parse(f'{head}\nnotify: {{webhook: "{url.replace("/", chr(92) + "x2f")}", on: [end]}} # {url}\n')
    assert literal.notify is not None
    assert literal.notify.webhook == url
    assert literal.text.endswith("notify: {webhook: $HPO_WEBHOOK, on: [end]} # $HPO_WEBHOOK\n")
    again = spec.from_mapping(literal.canonical())
    assert again.notify is not None
    assert again.notify.webhook == "$HPO_WEBHOOK"
    typed = spec.parse(head, overrides=[f"notify={url}"])
    assert "secret" not in f"{literal!r} {typed!r} {literal.canonical()}"
    for other in ("notify=null", "notify.webhook=$TEAM_WEBHOOK", " notify=https://host/another-secret"):
        over = spec.parse(f"{head}\nnotify: {url}\n", overrides=[other])
        assert "secret" not in f"{over.text} {over.overrides}", "what the override hides is in the file still"
    assert literal.hash() == typed.hash() == spec.parse(head).hash(), "it is no part of what is searched"
    for wrong in (
        f"notify: ftp://host{SECRET}",
        f"notify: {{webhook: [{url}]}}",
        f"notify: {{webhook: {url}, on: [x]}}",
    ):
        with pytest.raises(SpecError) as error:
            spec.parse(f"{head}\n{wrong}")
        assert "secret" not in str(error.value)
    with pytest.raises(SpecError, match=r"write \$HPO_WEBHOOK"):
        spec.parse(f"{head}\nnotify: $PGPASSWORD")


def test_an_unset_variable_is_said_and_harms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HPO_WEBHOOK", raising=False)
    said: list[str] = []
    tree = {
        "name": "n",
        "metric": "val/accuracy",
        "sampler": "grid",
        "parameters": {"lr": [0.1]},
        "trainer": {"import": "synthetic:curve"},
        "notify": "$HPO_WEBHOOK",
    }
    notices = Notices(spec.from_mapping(tree), said.append)
    notices.show(Event(kind="end", number=0, state="FAIL", params={}, epoch=1, value=None, error="x"))
    notices.close()
    assert said == ["notify.webhook is $HPO_WEBHOOK, which is not set here: nothing is sent to it"]


def everything_stored(home: Path) -> str:
    """All text in the databases and artifacts of a home folder."""
    found = []
    for name in ("studies.db", "mlflow.db"):
        with closing(sqlite3.connect(home / name)) as connection:
            found += list(connection.iterdump())
    found += [path.read_text(errors="replace") for path in home.rglob("*") if path.suffix in (".yaml", ".log", ".txt")]
    return "\n".join(found)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_a_search_tells_and_keeps_no_secret(
    home: Path, receiver: Receiver, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = ["raises", "fine"]
    code = "import json, sys; open(sys.argv[1], 'a').write(json.dumps(json.load(sys.stdin)) + chr(10))"
    log = home.parent / "told"
    tree = {
        "name": "told",
        "metric": "val/accuracy",
        "sampler": "grid",
        "parameters": {"kind": {"values": kinds}},
        "trainer": {"import": "synthetic:faulty"},
        "notify": {"webhook": receiver.url, "command": [sys.executable, "-c", code, str(log)], "every": 0},
    }
    study = hpo.run(tree, home=home, concurrency=1)
    told = [json.loads(line) for line in log.read_text().splitlines()]
    assert [each["event"] for each in told] in (["failure", "best", "end"], ["failure", "end"], ["best", "end"])
    assert told[-1]["text"].startswith("study told: finished, trial 1 is the best of the search; 1 complete, 1 failed;")
    assert told[-1]["trials"] == {"COMPLETE": 1, "FAIL": 1}
    assert receiver.got[-1]["text"] == told[-1]["text"]
    assert any("ValueError: the data has a hole" in each["text"] for each in (*told, *receiver.got))
    assert disagreements(study) == []
    stored = everything_stored(home)
    assert "$HPO_WEBHOOK" in stored
    assert "quite-a-secret" not in stored
    assert "quite-a-secret" not in "".join(capfd.readouterr())
    runs = MlflowClient(f"sqlite:///{home}/mlflow.db")
    assert runs.get_experiment_by_name("told") is not None

    # another search ends by an error; its receiver comes from the environment, and hangs: nobody waits for it
    receiver.answers = [None]
    monkeypatch.setenv("HPO_WEBHOOK", receiver.url)
    hopeless = {**tree, "name": "hopeless", "parameters": {"kind": {"values": ["raises"]}}}
    hopeless["notify"] = {"webhook": "$HPO_WEBHOOK", "on": ["failure"]}
    monkeypatch.setattr("hpo.search.notice.CLOSING_SECONDS", 1.0)
    with pytest.raises(NoUsableTrial):
        hpo.run(hopeless, home=home)
    assert any("given up" in line or "did not end in time" in line for line in capfd.readouterr().err.splitlines())
    assert receiver.got[-1]["event"] == "failure"
    assert os.environ["HPO_WEBHOOK"] == receiver.url
