"""What the keeper lets others know: where its server answers, since when, and whose processes are whose."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from flows.server.clients import client_settings, common_settings, healthy
from tasks.common.files import write_bytes


@dataclass(frozen=True)
class State:
    """The running box. `pids` are the keeper's and, by name, those of its children's supervisors.

    `started` is an ISO date, `database` words without a password."""

    address: str
    api: str
    auth: str | None = field(repr=False)
    database: str
    started: str
    ready: bool
    pids: dict[str, int]


def server_folder(work: Path) -> Path:
    """Where the keeper's files lie; nobody else may look in, since the password is there."""
    folder = work / "box"
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    return folder


def server_lock(work: Path) -> FileLock:
    """The lock that a keeper holds as long as it lives."""
    return FileLock(work / "box.lock")


def is_supervised(work: Path) -> bool:
    """Whether a keeper lives."""
    try:
        with server_lock(work).acquire(timeout=0):
            return False
    except Timeout:
        return True


def write_state(work: Path, state: State) -> None:
    """Replaces what is known of the box at once."""
    write_bytes(server_folder(work) / "state.json", json.dumps(asdict(state), indent=2).encode())


def read_state(work: Path) -> State | None:
    """What the keeper wrote last, also one that is no more; None where there never was one."""
    try:
        return State(**json.loads((work / "box" / "state.json").read_text(encoding="utf-8")))
    except (FileNotFoundError, PermissionError):
        return None


def live_server(work: Path) -> State | None:
    """The box if its keeper lives and its server answers."""
    state = read_state(work)
    return state if state and is_supervised(work) and healthy(state.api) else None


def remove_state(work: Path) -> None:
    """Forgets a box that is no more."""
    (work / "box" / "state.json").unlink(missing_ok=True)


def use_server(state: State, work: Path) -> None:
    """Lets Prefect in this process, which must not have imported it yet, talk to the box."""
    os.environ.update(common_settings(work) | client_settings(state.api, state.auth))
