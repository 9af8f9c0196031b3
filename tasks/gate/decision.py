"""From what two models draw to one verdict: absolute limits first, then a comparison that knows how sure it is."""

from dataclasses import dataclass, field
from typing import assert_never

from tasks.common.params import GateSettings
from tasks.evaluate.scores import rounded
from tasks.gate.bundles import LoadedBundle, View
from tasks.gate.record import ComparedMetric, Kind, Verdict
from tasks.metrics.bootstrap import Interval, Resampling, frechet_ratio, mean_difference

UNITS: dict[Kind, str] = {
    "ratio": "times that of the live model",
    "difference": "away from that of the live model",
}


@dataclass(frozen=True)
class Comparison:
    """A figure of the candidate against the live model's: ratio or difference, its interval, the margin, and what
    follows. `worse` where the interval lies beyond the margin, `perhaps worse` where it reaches beyond it.
    """

    figure: str
    kind: Kind
    interval: Interval
    margin: float
    verdict: Verdict

    def record(self) -> ComparedMetric:
        """For the gate's record."""
        ends = rounded({"estimate": self.interval.estimate, "low": self.interval.low, "high": self.interval.high})
        return ComparedMetric(kind=self.kind, **ends, margin=self.margin, verdict=self.verdict)

    @property
    def reason(self) -> str | None:
        """Why it speaks against the candidate, if it does."""
        low, high = self.interval.low, self.interval.high
        found = f"regression: {self.figure} is {low:.3g} to {high:.3g} {UNITS[self.kind]}"
        match self.verdict:
            case "better" | "no worse":
                return None
            case "worse":
                return f"{found}, surely beyond the margin of {self.margin:.3g}"
            case "perhaps worse":
                return f"{found}, perhaps beyond the margin of {self.margin:.3g}"
            case _:
                assert_never(self.verdict)


@dataclass
class Decision:
    """What speaks against the candidate, and every comparison."""

    reasons: list[str] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)

    @property
    def blessed(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons


def decide(candidate: LoadedBundle, live: LoadedBundle | None, settings: GateSettings, seed: int) -> Decision:
    """Limits, then, where there is a live model, the comparisons."""
    comparisons = compare(candidate, live, settings, seed) if live else []
    found = [comparison.reason for comparison in comparisons]
    return Decision([*beyond_limits(candidate, settings), *(reason for reason in found if reason)], comparisons)


def beyond_limits(candidate: LoadedBundle, settings: GateSettings) -> list[str]:
    """A sentence for each limit of params.yaml that the candidate breaks."""
    figures, limits = candidate.first.figures, settings.limits
    reasons = [
        f"limit: {name} is {figures[name]:.3g}, above gate.limits.{name} = {most:.3g}"
        for name, most in (("fd_relative", limits.fd_relative), ("memorised", limits.memorised))
        if not figures[name] <= most
    ]
    reasons += [
        f"limit: {name} is {figures[name]:.3g}, below gate.limits.{name} = {least:.3g}"
        for name, least in (("precision", limits.precision), ("coverage", limits.coverage))
        if not figures[name] >= least
    ]
    if figures.get("label_share", 1.0) < limits.label_share:
        reasons.append(
            f"limit: {candidate.rarest} is drawn {figures['label_share']:.2g} times as often as it occurs, "
            f"below gate.limits.label_share = {limits.label_share:.3g}"
        )
    if candidate.near.flagged and figures["memorised"] <= limits.memorised:
        reasons.append(f"memorisation: {figures['memorised']:.1%} of the images are nearly training images")
    return reasons


def compare(candidate: LoadedBundle, live: LoadedBundle, settings: GateSettings, seed: int) -> list[Comparison]:
    """The relative Frechet distance as a ratio, by each judge; coverage and precision as differences, by the first.

    Every interval comes of resampling images. Raises UserError where the two were not judged by one protocol.
    """
    how, margins = Resampling(settings.bootstrap_samples, settings.confidence, seed), settings.margin
    ours, theirs = candidate.first.membership, live.first.membership
    covered = mean_difference(ours.covered, theirs.covered, how)
    precise = mean_difference(ours.precise, theirs.precise, how)
    comparisons = [
        _distances("fd_relative", candidate.first, live.first, margins.fd_relative, how),
        Comparison("coverage", "difference", covered, -margins.coverage, _of(covered, margins.coverage)),
        Comparison("precision", "difference", precise, -margins.precision, _of(precise, margins.precision)),
    ]
    if candidate.second and live.second:
        margin = margins.fd_relative_second
        comparisons.append(_distances("fd_relative_second", candidate.second, live.second, margin, how))
    return comparisons


def _distances(figure: str, candidate: View, live: View, margin: float, how: Resampling) -> Comparison:
    candidate.reference.protocol.require(live.reference.protocol)
    ratio = frechet_ratio(candidate.features, live.features, candidate.reference.real.test, how)
    most = 1 + margin
    return Comparison(figure, "ratio", ratio, most, _verdict(-ratio.high, -ratio.low, -most, -1.0))


def _of(interval: Interval, margin: float) -> Verdict:
    return _verdict(interval.low, interval.high, -margin, 0.0)


def _verdict(low: float, high: float, tolerable: float, equal: float) -> Verdict:
    """Of an interval of something that is better when higher."""
    if low > equal:
        return "better"
    if low >= tolerable:
        return "no worse"
    return "worse" if high < tolerable else "perhaps worse"
