"""DVC's remote: the place from which other machines, and other clones, get data and released models."""

from pathlib import Path

from tasks.common.errors import UserError
from tasks.ingest.pin import dvc

LOCAL = "local"  # the remote that nobody but this machine reaches
SHARED = "shared"


def default_remote() -> tuple[str, str] | None:
    """Name and URL of DVC's default remote in the current folder, None where none is set."""
    config = dict(line.split("=", 1) for line in dvc("config", "--list").splitlines() if "=" in line)
    name = config.get("core.remote")
    return (name, config[f"remote.{name}.url"]) if name else None


def ensure_remote(work: Path) -> None:
    """Where DVC has no remote, sets up one in `work`/remote, for this checkout alone."""
    if default_remote() is None:
        folder = work / "remote"
        folder.mkdir(exist_ok=True)
        dvc("remote", "add", "--local", "-d", "-f", LOCAL, str(folder))


def remote_text(work: Path) -> str:
    """The default remote in words."""
    remote = default_remote()
    if remote is None:
        return "none; `make up` makes one on this machine, `make remote URL=...` names a shared one"
    name, url = remote
    if name == LOCAL:
        return f"{work / 'remote'}, which nobody else can reach; `make remote URL=...` names a shared one"
    return url


def set_remote(url: str) -> None:
    """Writes the remote at `url` into .dvc/config, for everybody, and says what to do with that.

    Raises UserError when there is no URL, or DVC refuses it.
    """
    if not url:
        raise UserError(
            "name the remote: `make remote URL=s3://bucket/path`, or ssh://, gs://, azure://, a folder, ..."
        )
    remote = default_remote()
    dvc("remote", "add", "-d", "-f", SHARED, url)
    if remote and remote[0] == LOCAL:
        dvc("remote", "remove", "--local", LOCAL)  # it would come before the committed one
    print(f"DVC's remote is {url} now, for everybody who has this commit:")
    print("    git add .dvc/config && git commit -m 'Share a DVC remote'")
    print("What was made before goes there with `dvc push --all-commits`; keys stay out of git with")
    print(f"`dvc remote modify --local {SHARED} ...`")
