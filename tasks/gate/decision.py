"""The gate's decision: absolute limits of the candidate, then a comparison with the live model by intervals."""

from tasks.common.params import GateSettings
from tasks.evaluate.scores import rounded
from tasks.gate.bundles import BundleEvaluation, EvaluatedFeatures
from tasks.gate.record import ComparedMetric, GateDecision, Kind, Verdict
from tasks.metrics.bootstrap import Interval, Resampling, frechet_ratio, mean_difference
from tasks.reference.protocol import SECOND

FAILING_SECOND = f"the second evaluator, which fails its own checks ({SECOND}/evaluator.json)"


def decide(
    candidate: BundleEvaluation, live: BundleEvaluation | None, settings: GateSettings, seed: int
) -> GateDecision:
    """Applies the limits and, where there is a live model, compares the candidate with it."""
    comparisons = compare(candidate, live, settings, seed) if live else {}
    regressions = [one.reason(name) for name, one in comparisons.items() if one.fails]
    reasons = [*broken_limits(candidate, settings), *regressions]
    return GateDecision(
        decision="refused" if reasons else "blessed",
        reasons=reasons,
        comparisons=comparisons,
        override=None,
        settings=settings.model_dump() | {"seed": seed},
        skipped=None if candidate.second else FAILING_SECOND,
    )


def broken_limits(candidate: BundleEvaluation, settings: GateSettings) -> list[str]:
    """Returns a sentence for each limit of params.yaml that the candidate breaks."""
    metrics, limits = candidate.first.metrics, settings.limits
    reasons = [
        f"limit: {name} is {metrics[name]:.3g}, above gate.limits.{name} = {most:.3g}"
        for name, most in (("fd_relative", limits.fd_relative), ("memorised", limits.memorised))
        if not metrics[name] <= most  # NaN breaks a limit, too
    ]
    reasons += [
        f"limit: {name} is {metrics[name]:.3g}, below gate.limits.{name} = {least:.3g}"
        for name, least in (("precision", limits.precision), ("coverage", limits.coverage))
        if not metrics[name] >= least
    ]
    if metrics.get("label_share", 1.0) < limits.label_share:
        reasons.append(
            f"limit: {candidate.rarest_label} has {metrics['label_share']:.2g} times its share of the test images, "
            f"below gate.limits.label_share = {limits.label_share:.3g}"
        )
    if candidate.memorisation.flagged and metrics["memorised"] <= limits.memorised:
        reasons.append(f"memorisation: {metrics['memorised']:.1%} of the images are nearly training images")
    return reasons


def compare(
    candidate: BundleEvaluation, live: BundleEvaluation, settings: GateSettings, seed: int
) -> dict[str, ComparedMetric]:
    """Compares relative Fréchet distances by each evaluator (ratio), coverage and precision by the first (difference).

    The intervals are bootstrap intervals over images. Raises UserError where the protocols differ.
    """
    how, margins = Resampling(settings.bootstrap_samples, settings.confidence, seed), settings.margin
    ours, theirs = candidate.first.membership, live.first.membership
    covered = mean_difference(ours.covered, theirs.covered, how)
    precise = mean_difference(ours.precise, theirs.precise, how)
    comparisons = {
        "fd_relative": _distances(candidate.first, live.first, margins.fd_relative, how),
        "coverage": _difference(covered, margins.coverage),
        "precision": _difference(precise, margins.precision),
    }
    if candidate.second and live.second:
        margin = margins.fd_relative_second
        comparisons["fd_relative_second"] = _distances(candidate.second, live.second, margin, how)
    return comparisons


def _distances(candidate: EvaluatedFeatures, live: EvaluatedFeatures, margin: float, how: Resampling) -> ComparedMetric:
    candidate.reference.protocol.require(live.reference.protocol)
    ratio = frechet_ratio(candidate.features, live.features, candidate.reference.real.test, how)
    most = 1 + margin
    return _compared("ratio", ratio, most, _verdict(-ratio.high, -ratio.low, -most, -1.0))


def _difference(difference: Interval, margin: float) -> ComparedMetric:
    return _compared("difference", difference, -margin, _verdict(difference.low, difference.high, -margin, 0.0))


def _compared(kind: Kind, interval: Interval, margin: float, verdict: Verdict) -> ComparedMetric:
    ends = rounded({"estimate": interval.estimate, "low": interval.low, "high": interval.high})
    return ComparedMetric(kind=kind, **ends, margin=margin, verdict=verdict)


def _verdict(low: float, high: float, tolerable: float, equal: float) -> Verdict:
    """Returns the verdict on an interval of something that is better when higher."""
    if low > equal:
        return "better"
    if low >= tolerable:
        return "no worse"
    return "worse" if high < tolerable else "perhaps worse"
