"""The supervisor's state file: the server's address, when it started, and the process ids of its parts."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from flows.server.clients import client_settings, common_settings, healthy
from tasks.common.errors import UserError
from tasks.common.files import write_bytes


@dataclass(frozen=True)
class State:
    """The running server. `started` is an ISO date, `database` a description without a password.

    `pids` has the process id of the supervisor and, by the child's name, of each child's flows/core/supervise.py.
    """

    address: str
    api: str
    auth: str | None = field(repr=False)
    database: str
    started: str
    ready: bool
    pids: dict[str, int]


def server_folder(work: Path) -> Path:
    """The folder of the supervisor's files; only its user may enter it, since the password is there."""
    folder = work / "server"
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    return folder


def log_folder(work: Path) -> Path:
    """The folder of the logs of the supervisor and its children."""
    return work / "logs" / "server"


def server_lock(work: Path) -> FileLock:
    """The lock that a supervisor holds while it runs; raises UserError while an earlier version's supervisor runs."""
    earlier = work / "box.lock"
    if earlier.exists() and _is_held(FileLock(earlier)):
        state = work / "box" / "state.json"  # is missing for a moment while that server starts or stops
        pids = json.loads(state.read_text(encoding="utf-8"))["pids"].values() if state.exists() else ["its process id"]
        *_, own = pids  # the supervisor's own comes last
        raise UserError(f"an earlier version's server still runs; stop it with `kill {own}`, then run this again")
    return FileLock(work / "server.lock")


def is_supervised(work: Path) -> bool:
    """Whether a supervisor runs; raises UserError as `server_lock` does."""
    return _is_held(server_lock(work))


def _is_held(lock: FileLock) -> bool:
    try:
        with lock.acquire(timeout=0):
            return False
    except Timeout:
        return True


def write_state(work: Path, state: State) -> None:
    """Replaces the state file at once."""
    write_bytes(server_folder(work) / "state.json", json.dumps(asdict(state), indent=2).encode())


def read_state(work: Path) -> State | None:
    """The state that a supervisor wrote last, perhaps one that was killed; None where there is none."""
    try:
        return State(**json.loads((work / "server" / "state.json").read_text(encoding="utf-8")))
    except (FileNotFoundError, PermissionError):
        return None


def live_server(work: Path) -> State | None:
    """The server's state if its supervisor runs and it is healthy."""
    state = read_state(work)
    return state if state and is_supervised(work) and healthy(state.api) else None


def remove_state(work: Path) -> None:
    """Removes the state file."""
    (work / "server" / "state.json").unlink(missing_ok=True)


def use_server(state: State, work: Path) -> None:
    """Makes Prefect in this process, which must not have imported it yet, use the server."""
    os.environ.update(common_settings(work) | client_settings(state.api, state.auth))
