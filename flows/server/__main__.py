"""`imagewright up | down | status | serve | remote URL`; docs/server.md describes them.

Exit codes: 0; 2 for a user error; 3 from `status` when the server is down.
"""

import argparse
import sys
from pathlib import Path
from typing import Literal, assert_never

from flows.server.commands import down, print_status, up
from flows.server.remote import set_remote
from flows.server.settings import read_settings
from flows.server.supervisor import serve
from tasks.common.cli import run
from tasks.common.errors import UserError
from tasks.common.paths import work_folder

DOWN = 3

ABOUT = {
    "up": "Starts Prefect's server, its UI and a worker in the background; docs/server.md has its settings",
    "down": "Stops the server",
    "status": "Prints the state of the server, its worker, deployments and runs; exit code 3 when it is down",
    "serve": "Runs the server in the foreground until SIGTERM or SIGINT, for a service manager",
    "remote": "Sets the DVC remote in .dvc/config: s3://..., ssh://... or a folder",
}
Command = Literal["up", "down", "status", "serve", "remote", "keep"]


def main() -> None:
    """Parses the command line and runs the command."""
    parser = argparse.ArgumentParser(prog="imagewright", description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, about in ABOUT.items():
        commands.add_parser(name, help=about, description=f"{about}.")
    commands.choices["remote"].add_argument("url", metavar="URL")
    commands.add_parser("keep")  # the name of `serve` in earlier versions
    arguments = parser.parse_args()
    run(lambda: _run(arguments.command, arguments))


def _run(command: Command, arguments: argparse.Namespace) -> None:
    work, root = work_folder(), Path.cwd()
    match command:
        case "up":
            up(read_settings(), work, root)
            print_status(work)
        case "down":
            down(work)
        case "serve":
            serve(read_settings(), work, root)
        case "remote":
            set_remote(arguments.url)
        case "status":
            if not print_status(work):
                sys.exit(DOWN)
        case "keep":
            raise UserError("`keep` is called `serve` now; change the systemd unit (docs/imagewright.service)")
        case _:
            assert_never(command)


if __name__ == "__main__":
    main()
