"""Ridge-penalised logistic regression by Newton's method (iteratively reweighted least squares).

Maximises Σ wᵢ·[yᵢ·ηᵢ − log(1 + e^ηᵢ)] − ½·Σ λⱼ·βⱼ² with η = b + X·β: le Cessie & van Houwelingen, "Ridge
Estimators in Logistic Regression", Applied Statistics 41, 1992. The intercept b bears no penalty. As every
λ is above 0 and both outcomes occur, the objective is strictly concave with a finite maximum, also where the
outcomes can be separated; steps are halved until it rises enough, so the iteration cannot miss it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

TOLERANCE = 1e-10  # of half the squared Newton decrement: what is left to gain, in nats
MAX_STEPS = 200  # an unlucky start takes some 10; the rest is margin
BLOCK = 200_000
"""Multiplications of one product. Rows are taken in blocks below what linear algebra deals to threads:
for products this small threads that wait for each other cost more than they gain, most on a busy machine."""


@dataclass(frozen=True)
class Logistic:
    """A fitted model. Standard errors are from the inverse of the penalised Hessian at the maximum."""

    intercept: float
    coefficients: Array  # (columns,)
    intercept_se: float
    standard_errors: Array  # (columns,)
    objective: float  # penalised log-likelihood, nats

    def logit(self, x: ArrayLike) -> Array:
        """η of rows x (rows, columns)."""
        return self.intercept + _product(np.asarray(x, dtype=np.float64), self.coefficients)

    def probability(self, x: ArrayLike) -> Array:
        """P(y = 1) of rows x (rows, columns), in (0, 1)."""
        return sigmoid(self.logit(x))


def sigmoid(eta: Array) -> Array:
    """1 / (1 + e^−η), without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * eta)))


def fit(x: ArrayLike, y: ArrayLike, penalty: ArrayLike, *, weights: ArrayLike | None = None) -> Logistic:
    """Fit outcomes y (rows,) in [0, 1] on x (rows, columns).

    `penalty` is λ > 0, one for all columns or one for each; `weights` ≥ 0 count rows (default 1). Outcomes
    that are all 0 or all 1 have no finite intercept: then it is that of half a row more of each (Jeffreys),
    with slopes 0. Raises ValueError where shapes differ, nothing has weight, or a value is out of range.
    """
    rows, outcomes = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if rows.ndim != 2 or outcomes.shape != rows.shape[:1]:
        raise ValueError(f"x must be (rows, columns) and y (rows,): got {rows.shape} and {outcomes.shape}")
    columns = rows.shape[1]
    ridge = np.broadcast_to(np.asarray(penalty, dtype=np.float64), (columns,))
    counts = np.ones(rows.shape[0]) if weights is None else np.asarray(weights, dtype=np.float64)
    if counts.shape != outcomes.shape or not np.isfinite(rows).all():
        raise ValueError("weights must have one value a row, and x must be finite")
    if not (np.isfinite(ridge) & (ridge > 0)).all() or not (np.isfinite(counts) & (counts >= 0)).all():
        raise ValueError("penalties must be above 0 and weights 0 or more")
    if not ((outcomes >= 0) & (outcomes <= 1)).all() or not counts.sum() > 0:
        raise ValueError("outcomes must be within [0, 1] and some row must have weight")

    design = np.column_stack([np.ones(rows.shape[0]), rows])
    diagonal = np.concatenate([[0.0], ridge])
    blocks = _blocks(design)
    share = float(counts @ outcomes / counts.sum())
    constant = share in (0.0, 1.0)
    if constant:
        share = float((counts @ outcomes + 0.5) / (counts.sum() + 1.0))
    beta = np.zeros(columns + 1)
    beta[0] = np.log(share / (1.0 - share))
    value = _objective(design, outcomes, counts, diagonal, beta)
    for _ in range(0 if constant else MAX_STEPS):
        p = sigmoid(_product(design, beta))
        gradient = np.einsum("ij,i->j", design, counts * (outcomes - p)) - diagonal * beta
        step = np.linalg.solve(_hessian(blocks, counts * p * (1.0 - p), diagonal), gradient)
        gain = 0.5 * float(gradient @ step)
        if gain <= TOLERANCE:
            beta = beta + step  # converges quadratically: the last step makes it exact
            break
        length = 1.0
        while (
            new := _objective(design, outcomes, counts, diagonal, beta + length * step)
        ) < value + 0.2 * length * gain and length > 1e-12:
            length /= 2
        beta, value = beta + length * step, new
    value = _objective(design, outcomes, counts, diagonal, beta)
    p = sigmoid(_product(design, beta))
    covariance = np.linalg.inv(_hessian(blocks, counts * p * (1.0 - p), diagonal))
    errors = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return Logistic(float(beta[0]), beta[1:], float(errors[0]), errors[1:], value)


def _objective(design: Array, y: Array, counts: Array, diagonal: Array, beta: Array) -> float:
    eta = _product(design, beta)
    return float(counts @ (y * eta - np.logaddexp(0.0, eta)) - 0.5 * diagonal @ (beta * beta))


def _product(design: Array, beta: Array) -> Array:
    return np.asarray(np.einsum("ij,j->i", design, beta))


def _blocks(design: Array) -> list[tuple[slice, Array]]:
    rows, columns = design.shape
    # Many columns: threads are worth their while.
    height = max(1, BLOCK // columns**2) if columns <= 128 else rows
    return [(at := slice(k, k + height), design[at]) for k in range(0, rows, height)]


def _hessian(blocks: list[tuple[slice, Array]], weights: Array, diagonal: Array) -> Array:
    """Of the negative objective. The intercept gets a whisper, lest rounding makes it singular far out."""
    found = np.diag(diagonal)
    for at, block in blocks:
        found += (block * weights[at, None]).T @ block
    found[0, 0] += 1e-12
    return found
