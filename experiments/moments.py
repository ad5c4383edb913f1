"""What a metric's estimates need of the users: counts, means and covariances, by arm and look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feedmill.experiments.sequences import Values


@dataclass(frozen=True)
class Moments:
    """Of a group of users, or of many such groups at once.

    Attributes
    ----------
    users
        (…): how many.
    means
        (…, columns): the numerator, the denominator, and the covariates, which a user brings.
    covariances
        (…, columns, columns).
    """

    users: Values
    means: Values
    covariances: Values

    @classmethod
    def of_sums(cls, users: Values, sums: Values, products: Values) -> Moments:
        """Return the moments of sums (…, columns) and sums of products (…, columns, columns)."""
        n = np.maximum(users, 1.0)
        means = sums / n[..., None]
        spread = products - n[..., None, None] * means[..., :, None] * means[..., None, :]
        return cls(users, means, spread / np.maximum(n - 1, 1.0)[..., None, None])


@dataclass(frozen=True)
class Contrast:
    """The difference of a metric between two arms, `treated` less `factor` times `control`.

    All are (…): `estimate` with its `standard_error`, of so many `users` of both arms.  `control`
    and `treated` are the arms' own values, without covariates.
    """

    estimate: Values
    standard_error: Values
    users: Values
    control: Values
    treated: Values


def contrast(
    control: Moments, treated: Moments, *, factor: float = 1.0, adjusted: bool = True
) -> Contrast:
    """Return the difference of two ratios of means, by the delta method with the user as the unit.

    Each user adds (numerator - ratio x denominator) / mean denominator.  With `adjusted`, what
    covariates from before the exposure explain of it is taken away (CUPED, Deng et al. 2013), by
    the one linear combination that makes the difference's variance least.
    """
    values, gradients = zip(*(_ratio(arm) for arm in (control, treated)), strict=True)
    gradients = (factor * gradients[0], gradients[1])
    shares = [1 / np.maximum(arm.users, 1.0)[..., None, None] for arm in (control, treated)]
    spread = control.covariances * shares[0] + treated.covariances * shares[1]
    crossed = sum(
        np.einsum("...i,...ij->...j", gradient, arm.covariances[..., :2, 2:] * share)
        for gradient, arm, share in zip(gradients, (control, treated), shares, strict=True)
    )
    slopes = solve(spread[..., 2:, 2:], np.asarray(crossed)) if adjusted else 0.0 * crossed
    variance = np.zeros(control.users.shape)
    for gradient, arm in zip(gradients, (control, treated), strict=True):
        whole = np.concatenate([gradient, -slopes], axis=-1)
        own = np.einsum("...i,...ij,...j->...", whole, arm.covariances, whole)
        variance = variance + own / np.maximum(arm.users, 1.0)
    moved = ((treated.means - control.means)[..., 2:] * slopes).sum(axis=-1)
    return Contrast(
        values[1] - factor * values[0] - moved,
        np.sqrt(np.maximum(variance, 0.0)),
        control.users + treated.users,
        *values,
    )


def _ratio(arm: Moments) -> tuple[Values, Values]:
    """Return the ratio (…) and its gradient by numerator and denominator (…, 2)."""
    below = arm.means[..., 1]
    below = np.where(below == 0, np.nan, below)
    value = arm.means[..., 0] / below
    return value, np.stack([1 / below, -value / below], axis=-1)


def solve(spread: Values, crossed: Values) -> Values:
    """Return the slopes (…, covariates); a covariate that does not vary gets 0."""
    deviations = np.sqrt(np.maximum(np.einsum("...ii->...i", spread), 0.0))
    scale = np.where(deviations > 0, 1 / np.where(deviations > 0, deviations, 1.0), 0.0)
    unit = spread * scale[..., :, None] * scale[..., None, :]
    # Covariates that say nearly the same need not be told apart.
    unit = unit + 1e-9 * np.eye(spread.shape[-1])
    solved = np.linalg.solve(unit, np.nan_to_num(crossed * scale)[..., None])[..., 0]
    return np.asarray(solved * scale)
