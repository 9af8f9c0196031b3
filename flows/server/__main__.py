"""`python -m flows.server up | down | status | keep | remote URL`; see docs/server.md.

Exit codes: 0; 2 for a person's mistake; `status` ends with 3 when the box is down.
"""

import argparse
import sys
from pathlib import Path
from typing import Literal, assert_never

from flows.server.commands import down, up
from flows.server.remote import set_remote
from flows.server.settings import read_settings
from flows.server.status import status
from flows.server.supervisor import keep
from tasks.common.cli import run
from tasks.common.paths import work_folder

DOWN = 3

Command = Literal["up", "down", "status", "keep", "remote"]


def main() -> None:
    """Reads the command line and does it."""
    parser = argparse.ArgumentParser(prog="python -m flows.server", description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start the box in the background")
    commands.add_parser("down", help="end it")
    commands.add_parser("status", help="what it is doing")
    commands.add_parser("keep", help="be the box, in the foreground, until SIGTERM or SIGINT")
    commands.add_parser("remote", help="name DVC's remote for everybody").add_argument("url", metavar="URL")
    asked = parser.parse_args()
    run(lambda: _run(asked.command, asked))


def _run(command: Command, asked: argparse.Namespace) -> None:
    work, root = work_folder(), Path.cwd()
    match command:
        case "up":
            up(read_settings(), work, root)
            status(work)
        case "down":
            down(work)
        case "keep":
            keep(read_settings(), work, root)
        case "remote":
            set_remote(asked.url)
        case "status":
            if not status(work):
                sys.exit(DOWN)
        case _:
            assert_never(command)


if __name__ == "__main__":
    main()
