"""Diagnostics of failing trainings: pure functions of losses and probes.

Each check returns None, or a clause that describes the failure.
"""

from torch import Tensor

MIN_DIVERSITY = 0.2  # healthy runs stay above 0.35 from the first probe on
MAX_LOGIT_GAP = 20.0  # between real and generated images: odds of a billion to one
MAX_LOGIT_GAP_BAD_PROBE = 10.0  # the same where the probe is bad, by the next two constants
MAX_PROBE_RATIO = 2.0  # to the best probe
CONSTANT_GENERATOR_PROBE = 1.0  # probe of a generator that returns the mean of the real images
ACTIVE_VARIANCE = 0.01
MIN_ACTIVE_SHARE = 0.05  # of the code dimensions
MAX_WEIGHTED_KL = 10.0  # nats per code dimension; healthy runs stay below 4


def mode_collapsed(diversity: float | None) -> str | None:
    """Detects mode collapse: generated images vary much less than real ones."""
    if diversity is None or diversity >= MIN_DIVERSITY:
        return None
    return f"the generator collapsed (its images vary {diversity:.2g} times as much as real ones)"


def discriminator_dominates(
    real: float | None, fake: float | None, probe: float | None, best: float | None
) -> str | None:
    """Detects a discriminator so confident that the generator's gradients vanish.

    `real` and `fake` are mean logits, `probe` is the latest value and `best` the lowest so far. Long healthy runs can
    reach a large gap too, but their probe stays good.
    """
    if real is None or fake is None:
        return None
    limit = CONSTANT_GENERATOR_PROBE if best is None else min(CONSTANT_GENERATOR_PROBE, MAX_PROBE_RATIO * best)
    bad = probe is not None and probe > limit
    if real - fake <= (MAX_LOGIT_GAP_BAD_PROBE if bad else MAX_LOGIT_GAP):
        return None
    return f"the discriminator dominates (the logits of real and generated images are {real - fake:.3g} apart)"


def generator_diverged(probe: float | None, best: float | None) -> str | None:
    """Detects a generator that was good and became no better than the mean of the real images."""
    if probe is None or best is None or probe <= max(CONSTANT_GENERATOR_PROBE, MAX_PROBE_RATIO * best):
        return None
    return f"the generator diverged (the probe is {probe / best:.2g} times its best value)"


# ---- number of dimensions u with Var_x(E[z_u | x]) > 0.01: Burda 2016, section 5.1 -----------------------------------
def active_units(means: Tensor) -> int:
    """Returns how many code dimensions depend on the image, from posterior means float [N, L]."""
    return int((means.var(0) > ACTIVE_VARIANCE).sum())


def posterior_collapsed(active: float | None, length: int) -> str | None:
    """Detects posterior collapse: the codes hardly depend on the image."""
    if active is None or active >= max(1.0, MIN_ACTIVE_SHARE * length):
        return None
    return f"the posterior collapsed ({active:.0f} of {length} code dimensions are active)"


def posterior_diverged(kl: float | None, weight: float, length: int) -> str | None:
    """Detects a posterior far from the prior, the result of a learning rate that is far too high.

    `kl` is in nats per image, and `weight` is its factor in the loss: with a weight near 0 a large KL is harmless.
    """
    if kl is None or weight * kl <= MAX_WEIGHTED_KL * length:
        return None
    return f"the posterior diverged (its KL divergence from N(0, I) is {kl / length:.3g} nats per dimension)"
