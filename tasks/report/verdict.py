"""The page's first lines: which model is better by how much, and every reason to distrust that."""

from typing import Any

from tasks.figures import shown

LEAD = "fd_relative"  # the figure that decides


def verdict(metrics: dict[str, Any]) -> str:
    """One sentence that compares the models by relative Fréchet distance, beside what real images score."""
    scores = {model.upper(): one["figures"][LEAD] for model, one in metrics.items() if LEAD in one["figures"]}
    if not scores:
        return "Nothing has been judged yet; `make run` trains, exports and judges."
    floors = [one["floor"][LEAD] for one in metrics.values() if LEAD in one["floor"]]
    floor = f", where real images score {shown(floors[0])}" if floors else ""
    (best, score), *others = sorted(scores.items(), key=lambda item: item[1])
    if not others:
        return f"The {best} has a relative Fréchet distance of {shown(score)} to the test images{floor}."
    other, worse = others[0]
    return (
        f"The {best} is closer to the test images than the {other}: "
        f"relative Fréchet distance {shown(score)} against {shown(worse)}{floor}."
    )


def warnings(metrics: dict[str, Any], judge: dict[str, Any] | None, stages: list[dict[str, Any]]) -> list[str]:
    """Reasons to distrust the figures: another protocol, a judge that fails a check, what a receipt warns of."""
    found = []
    if len({repr(sorted(one["protocol"].items())) for one in metrics.values()}) > 1:
        found.append("The models were judged by different protocols, so their figures cannot be compared.")
    if judge and not judge["counts"]:
        found.append("The judge fails its own checks (see below), so its figures prove nothing.")
    found += [
        f"The {model.upper()} repeats training images: {one['figures']['memorised']:.0%} of its images come nearer to "
        "one than all but 1 % of unseen images do."
        for model, one in metrics.items()
        if one.get("memorises")
    ]
    receipts = [(stage["name"], (stage["receipt"] or {}).get("facts", {})) for stage in stages]
    return found + [f"{name}: {facts['warning']}." for name, facts in receipts if "warning" in facts]
