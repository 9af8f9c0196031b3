"""`python -m flows retrain | gate-and-release | rollback | deprecate`: what the deployments do, from a terminal.

Exit codes: 0 when the flow completed, also where the gate refused; 1 when it failed, 2 for a person's mistake.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, get_args

from ruamel.yaml import YAML

from flows.core.terminal import catch_signals
from flows.server.temporary import recorded
from flows.ui.form import COMMITTED, Models, Overrides, check_overrides
from tasks.common.cli import run
from tasks.common.errors import UserError
from tasks.common.model_names import MODELS

CHOICES = get_args(Models)


def main() -> None:
    """Parses, runs the flow and says what came of it."""
    given = vars(_parser().parse_args())
    catch_signals()
    flow = given.pop("flow")
    parameters = {"overrides": _overrides(given.pop("set"))} if flow == "retrain" else {}
    with recorded(Path.cwd()):
        flows = _flows()
    state = flows[flow](**given, **parameters, return_state=True)
    if state.is_failed() and isinstance(error := state.result(raise_on_failure=False), UserError):
        raise error
    print(f"\n{state.name}: {state.message}", flush=True)
    sys.exit(0 if state.is_completed() else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flows", description=__doc__)
    kinds = parser.add_subparsers(dest="flow", required=True)
    retrain = kinds.add_parser("retrain", help="train on the newest data and release what the gate blesses")
    retrain.add_argument("--preset", default=COMMITTED, help="laid over the committed params.yaml")
    retrain.add_argument("--models", choices=CHOICES, default="both")
    retrain.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as train_gan.seed=7")
    release = kinds.add_parser("gate-and-release", help="judge the results of a commit and release what passes")
    release.add_argument("revision", help="a branch, tag or commit")
    release.add_argument("--models", choices=CHOICES, default="both")
    release.add_argument("--override-by", default="", metavar="WHO", help="answers for it where the gate refuses")
    release.add_argument("--override-because", default="", metavar="WHY")
    release.add_argument("--stage", choices=("live", "candidate"), default="live")
    rollback = kinds.add_parser("rollback", help="make an earlier version live again")
    rollback.add_argument("model", choices=MODELS)
    rollback.add_argument("version", nargs="?", default="", help="as v1.2.0; what was live before, unless told")
    deprecate = kinds.add_parser("deprecate", help="take a version back that is not live")
    deprecate.add_argument("release", help="as gan@v1.0.0")
    deprecate.add_argument("because", help="what is wrong with it")
    return parser


def _overrides(settings: list[str]) -> Overrides:
    """`KEY=VALUE`s as the form; raises UserError for what the form does not have."""
    tree: dict[str, Any] = {}
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not sign:
            raise UserError(f"--set {setting} is no KEY=VALUE; say for instance --set train_gan.seed=7")
        *above, last = key.split(".")
        branch = tree
        for part in above:
            branch = branch.setdefault(part, {})
        branch[last] = YAML(typ="safe").load(value)
    return check_overrides(tree)


def _flows() -> dict[str, Any]:
    from flows.deprecate import deprecate
    from flows.gate_and_release import gate_and_release
    from flows.retrain import retrain
    from flows.rollback import rollback

    return {"retrain": retrain, "gate-and-release": gate_and_release, "rollback": rollback, "deprecate": deprecate}


if __name__ == "__main__":
    run(main)
