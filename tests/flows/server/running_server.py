"""`make up` in a real checkout with flows that only sleep, and a client of its API without Prefect."""

import base64
import http
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tests.conftest import make_checkout
from tests.flows.conftest import until

FLOW = '''
import os, time
from pathlib import Path
from prefect import flow, task

@task
def work(seconds: float) -> None:
    with Path("journal.txt").open("a") as file:
        file.write(f"{{os.getpid()}} {{os.environ['IMAGEWRIGHT_REPORTS_URL']}}\\n")
    time.sleep(seconds)

@flow(name="{name}")
def {function}(seconds: float = 0.0, then: float = 0.0) -> None:
    """Sleeps in one task, and in a second one for `then` seconds."""
    work(seconds)
    if then:
        work(then)
'''
SUPERVISOR = "flows/core/supervise.py"
BUSY_TRIES = 120
UNFINISHED = {"SCHEDULED", "PENDING", "RUNNING", "CANCELLING"}


class RunningServer:
    """A checkout in which `up` starts a server, and requests to that server."""

    def __init__(self, path: Path, **settings: str) -> None:
        self.checkout = make_checkout(path)
        self.port = free_port()
        self.settings = {"PORT": str(self.port), **settings}
        self.prepare()

    def prepare(self) -> None:
        """Replaces the real flows by flows that only sleep."""
        for name in ("retrain", "gate-and-release", "rollback", "deprecate"):
            function = name.replace("-", "_")
            (self / f"flows/{function}.py").write_text(FLOW.format(name=name, function=function))

    def __truediv__(self, name: str) -> Path:
        return self.checkout / name

    @property
    def environment(self) -> dict[str, str]:
        return {f"IMAGEWRIGHT_{name}": value for name, value in self.settings.items()}

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Runs `python -m flows.server ARGUMENTS` to its end."""
        return self.checkout.python("-m", "flows.server", *arguments, env=self.environment)

    def run_checked(self, *command: str) -> str:
        """Runs a command in the checkout to its end and returns what it printed."""
        done = self.checkout.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def up(self) -> str:
        done = self.run("up")
        assert done.returncode == 0, done.stdout + done.stderr + self.logs()
        return done.stdout

    def python(self, *arguments: str) -> None:
        """Runs `python ARGUMENTS` to its end as a client of the running server."""
        state = json.loads((self / ".work/server/state.json").read_text())
        home = str(self / ".work/prefect")
        env = {"PREFECT_API_URL": state["api"], "PREFECT_API_AUTH_STRING": state["auth"] or "", "PREFECT_HOME": home}
        done = self.checkout.python(*arguments, env=env)
        assert done.returncode == 0, done.stdout + done.stderr

    def install(self) -> None:
        """Creates or updates the deployments and automations, as `up` does."""
        self.python("-m", "flows.server.install")

    def logs(self) -> str:
        return "\n".join(f"{path}:\n{path.read_text()}" for path in sorted((self / ".work/logs/server").glob("*.log")))

    def fetch(self, path: str, auth: str | None = None, body: object = None, method: str | None = None) -> Any:
        """Returns status and content of a path; `auth` replaces the right user and password."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        request.add_header("Accept", "text/html, application/json")
        password = self.settings.get("PASSWORD")
        if auth := auth if auth is not None else f"admin:{password}" if password else "":
            request.add_header("Authorization", f"Basic {base64.b64encode(auth.encode()).decode()}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def headers(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as answer:
            return answer.headers

    def api(self, path: str, body: object = None, method: str | None = None) -> Any:
        """Requests JSON; retries, as Prefect's clients do, while the server is away or SQLite is locked."""
        for _ in range(BUSY_TRIES):
            with suppress(OSError):
                code, content = self.fetch(f"/api{path}", body=body, method=method)
                if code != http.HTTPStatus.SERVICE_UNAVAILABLE:
                    break
            time.sleep(1)
        else:
            raise AssertionError(f"{path}: no answer")
        assert code < 300, f"{path}: {code} {content}"
        return json.loads(content) if content else None

    def deployments(self) -> dict[str, Any]:
        return {one["name"]: one for one in self.api("/deployments/filter", {})}

    def start(self, deployment: str, **parameters: object) -> str:
        """Creates a run; returns its id."""
        one = self.deployments()[deployment]["id"]
        created = self.api(f"/deployments/{one}/create_flow_run", {"parameters": parameters})
        return str(created["id"])

    def state(self, run: str) -> Any:
        return self.api(f"/flow_runs/{run}")["state"]

    def wait(self, run: str, *types: str, seconds: float = 60) -> Any:
        """Waits until a run is in a state of one of these types; returns the state."""
        until(lambda: self.state(run)["type"] in types, seconds)
        return self.state(run)

    def engine(self, run: str) -> psutil.Process:
        """Waits until a run's task runs; returns the run's process."""
        self.wait(run, "RUNNING")
        until(lambda: "RUNNING" in [task["state_type"] for task in self.tasks(run)], seconds=60)
        return psutil.Process(int(self.api(f"/flow_runs/{run}")["infrastructure_pid"]))

    def tasks(self, run: str) -> Any:
        return self.api("/task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})

    def pids(self) -> dict[str, int]:
        found: dict[str, int] = json.loads((self / ".work/server/state.json").read_text())["pids"]
        return found

    def family(self) -> list[psutil.Process]:
        """The supervisor and its descendants."""
        supervisor = psutil.Process(self.pids()["supervisor"])
        return [supervisor, *supervisor.children(recursive=True)]

    def processes(self) -> Iterator[psutil.Process]:
        """Yields all processes whose working folder is the checkout or inside it."""
        for process in psutil.process_iter():
            try:
                if Path(process.cwd()).is_relative_to(self.checkout.path):
                    yield process
            except psutil.Error:  # another user's, or gone
                continue

    def supervised(self, name: str) -> psutil.Process:
        """Waits for the process that supervise.py runs for the child of this name; returns it."""

        def children() -> list[psutil.Process]:
            try:
                found = psutil.Process(self.pids()[name]).children()  # among them the second supervise.py
                return [child for child in found if SUPERVISOR not in " ".join(child.cmdline())]
            except (KeyError, FileNotFoundError, psutil.NoSuchProcess):
                return []

        until(children, seconds=60)
        return children()[0]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
