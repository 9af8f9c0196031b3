"""DVC's remote: where other machines, and other clones, get data and released models."""

from pathlib import Path

from tasks.common.errors import UserError
from tasks.ingest.pin import dvc

LOCAL = "local"  # the remote in .work, which only this machine reaches
SHARED = "shared"


def default_remote() -> tuple[str, str] | None:
    """Name and URL of DVC's default remote in the current folder, None where none is set."""
    config = dict(line.split("=", 1) for line in dvc("config", "--list").splitlines() if "=" in line)
    name = config.get("core.remote")
    return (name, config[f"remote.{name}.url"]) if name else None


def ensure_remote(work: Path) -> None:
    """Creates a remote in `work`/remote, for this checkout alone, where DVC has none."""
    if default_remote() is None:
        folder = work / "remote"
        folder.mkdir(exist_ok=True)
        dvc("remote", "add", "--local", "-d", "-f", LOCAL, str(folder))


def remote_text(work: Path) -> str:
    """The default remote for people: its URL, or what to do where no other machine reaches it."""
    remote = default_remote()
    if remote is None:
        return "none; `make up` makes one on this machine, `make remote URL=...` sets a shared one"
    name, url = remote
    if name == LOCAL:
        return f"{work / 'remote'}, which only this machine can reach; `make remote URL=...` sets a shared one"
    return url


def set_remote(url: str) -> None:
    """Writes the remote at `url` into .dvc/config, for everybody, and prints what to do next.

    Raises UserError when `url` is empty or DVC refuses it.
    """
    if not url:
        raise UserError("give a URL: `make remote URL=s3://bucket/path`, or ssh://, gs://, azure://, a folder")
    remote = default_remote()
    dvc("remote", "add", "-d", "-f", SHARED, url)
    if remote and remote[0] == LOCAL:
        dvc("remote", "remove", "--local", LOCAL)  # it would take precedence over the committed one
    print(f"DVC's remote is now {url}. Commit that for everybody:")
    print("    git add .dvc/config && git commit -m 'Share a DVC remote'")
    print("`dvc push --all-commits` uploads what exists already. Set credentials outside git with")
    print(f"`dvc remote modify --local {SHARED} ...`")
