"""The command line: `imagewright COMMAND`, or `python -m flows COMMAND`.

Exit codes: 0 where the command did its work, also where the gate refused a release; 1 where a flow or a check failed; 2
for a mistake of the user; 3 from `status` when the server is down.
"""

import argparse
import importlib
import os
import runpy
import sys
from pathlib import Path
from typing import Any

from tasks.common.cli import run
from tasks.common.errors import UserError

ROOT = Path(__file__).parents[1]
HERE, SERVER = "flows.__main__", "flows.server"
COMMANDS = {  # by group and command: the module that parses its arguments, and what it does
    "Data and training": {
        "run": ("flows.pipeline", "ingest images, if some are named, and run the pipeline as a Prefect flow"),
        "data": ("tasks.ingest", "fill data/raw from a folder, an archive or a known data set, and pin it with DVC"),
        "preset": ("tasks.common.presets", "write the values of a preset into params.yaml"),
        "report": ("tasks.report", "write report/index.html from the last results"),
        "doctor": ("flows.doctor", "check this machine and its installation, with the fix for what fails"),
    },
    "Models and releases": {
        "gate": ("tasks.gate", "decide whether a bundle may replace the live one"),
        "retrain": (HERE, "train on the newest data and release the models that the gate accepts"),
        "release": (HERE, "gate and release the results of a commit"),
        "rollback": (HERE, "make an earlier version live again"),
        "deprecate": (HERE, "withdraw a version that is not live"),
        "reproduce": ("flows.reproduce", "make a release again from its commit and compare every hash"),
        "lineage": ("tasks.release.lineage", "print where an .onnx file came from, checked against git and DVC"),
        "sign": ("tasks.release.signature", "sign a bundle, or make a pair of keys"),
    },
    "Server": {
        "up": (SERVER, "start Prefect's server, its UI and a worker in the background"),
        "down": (SERVER, "stop them"),
        "status": (SERVER, "print the state of the server, its worker, deployments and runs"),
        "serve": (SERVER, "run the server in the foreground, for a service manager"),
        "ingest": ("flows.ingest", "do what `data` does, and let the server retrain if the data is new"),
        "remote": (SERVER, "set the DVC remote where data and released models are shared"),
    },
}
SUMMARY = "Retrains image generators, evaluates them and releases them as ONNX."
MORE_HELP = (
    "`imagewright COMMAND --help` describes a command and its arguments.\n"
    "`dvc repro` runs the pipeline without Prefect. `make help` lists short forms, set-up and tests."
)
EARLIER = {"gate-and-release": "release"}
FLOWS = {"release": "gate_and_release"}  # by command: the module and function of its flow, where the name differs


def main() -> None:
    """Runs the command that the arguments name; raises UserError for an unknown one and in another folder."""
    modules = {command: module for group in COMMANDS.values() for command, (module, _) in group.items()}
    command, *arguments = sys.argv[1:] or ["--help"]
    if command in ("-h", "--help"):
        print(help_page())
        return
    if command not in modules:
        hint = f"it is now called `{EARLIER[command]}`" if command in EARLIER else "see `imagewright --help`"
        raise UserError(f"there is no command `{command}`; {hint}")
    if Path.cwd() != ROOT.resolve():  # the console script of a .venv that several checkouts share
        if not Path("flows/__main__.py").is_file():
            raise UserError("this is not a checkout of the project (there is no flows/__main__.py); run this in one")
        os.execv(sys.executable, [sys.executable, "-m", "flows", command, *arguments])
    if modules[command] == HERE:
        run_flow(command, vars(_parser(command).parse_args(arguments)))
    shared = modules[command] == SERVER  # whose module parses the command too
    sys.argv = ["imagewright", command, *arguments] if shared else [f"imagewright {command}", *arguments]
    runpy.run_module(modules[command], run_name="__main__")


def help_page() -> str:
    """Returns the text of `imagewright --help`."""
    parts = ["usage: imagewright COMMAND [ARGUMENT ...]", SUMMARY]
    for title, commands in COMMANDS.items():
        parts.append("\n".join([f"{title}:", *(f"  {name:<11}{about}" for name, (_, about) in commands.items())]))
    return "\n\n".join([*parts, MORE_HELP])


def run_flow(command: str, arguments: dict[str, Any]) -> None:
    """Runs the flow of a deployment in this process, prints its result and exits."""
    from flows.core.terminal import catch_signals
    from flows.server.temporary import recorded

    catch_signals()
    if "set" in arguments:
        arguments["overrides"] = _overrides(arguments.pop("set"))
    module = FLOWS.get(command, command)
    with recorded(Path.cwd()):
        flow = getattr(importlib.import_module(f"flows.{module}"), module)
    state = flow(**arguments, return_state=True)
    if state.is_failed() and isinstance(error := state.result(raise_on_failure=False), UserError):
        raise error
    print(f"\n{state.name}: {state.message}", flush=True)
    sys.exit(0 if state.is_completed() else 1)


def _parser(command: str) -> argparse.ArgumentParser:
    from flows.ui.form import COMMITTED
    from tasks.common.model_names import MODELS

    [about] = [commands[command][1] for commands in COMMANDS.values() if command in commands]
    parser = argparse.ArgumentParser(f"imagewright {command}", description=f"{about[0].upper()}{about[1:]}.")
    if command in ("retrain", "release"):
        choices = ("all", *MODELS)
        parser.add_argument("--models", type=_models, choices=choices, default="all", help="default: all")
    if command == "retrain":
        parser.add_argument("--preset", default=COMMITTED, help="a preset instead of the committed values")
        parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="such as train_gan.seed=7")
    elif command == "release":
        parser.add_argument("revision", nargs="?", default="HEAD", help="a branch, tag or commit; default: HEAD")
        parser.add_argument("--override-by", default="", metavar="WHO", help="the person who overrides a refusal")
        parser.add_argument("--override-because", default="", metavar="WHY", help="this person's reason")
        parser.add_argument("--stage", choices=("live", "candidate"), default="live", help="default: live")
    elif command == "rollback":
        parser.add_argument("model", choices=MODELS)
        parser.add_argument("version", nargs="?", default="", help="such as v1.2.0; default: the one live before")
    else:
        parser.add_argument("release", help="such as gan@v1.0.0")
        parser.add_argument("because", help="the reason")
    return parser


def _models(choice: str) -> str:
    if choice == "both":
        raise argparse.ArgumentTypeError("`both` is now called `all`")
    return choice


def _overrides(settings: list[str]) -> object:
    """Returns `KEY=VALUE`s as the form; raises UserError for what the form does not have."""
    from ruamel.yaml import YAML

    from flows.ui.form import check_overrides

    tree: dict[str, Any] = {}
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not sign:
            raise UserError(f"--set {setting} is not KEY=VALUE; write for example --set train_gan.seed=7")
        *above, last = key.split(".")
        branch = tree
        for part in above:
            branch = branch.setdefault(part, {})
        branch[last] = YAML(typ="safe").load(value)
    return check_overrides(tree)


def console() -> None:
    """The entry point of the console script `imagewright`."""
    run(main)


if __name__ == "__main__":
    console()
