"""Means over users and seeds, and how far they may be off: sums and cross products are all that this takes.

The values of a row are those of the same users under every seed, so users and seeds cross:
x_su = mean + seed_s + user_u + rest_su. With the mean squares MS of that table, S seeds and n users, the variance of
the mean is estimated without bias by (MS_seed + MS_user - MS_rest) / (S n) (Searle, Casella & McCulloch, Variance
Components, 1992, section 4.2), on as many degrees of freedom as Satterthwaite (Biometrics Bulletin 2, 1946) gives.
With one seed this is the ordinary paired t-test over users.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
Values = NDArray[np.floating]
"""Per-user values [seeds, users, rows], all finite; a single row may be [seeds, users]."""
AT_A_TIME = 1 << 22
"""Values that are summed at a time."""
NOTHING = 1e-12
"""Share of the two rows' own variance below which the variance of their difference is what rounding left."""


@dataclass(frozen=True)
class Estimate:
    """Means with their uncertainty, each array of one shape: [rows], or [rows, rows] for first minus second."""

    mean: Array
    variance: Array
    """Of the mean, over users and seeds."""
    freedom: Array
    """Degrees of freedom of that variance; 0 where it cannot be told (one user)."""

    @property
    def error(self) -> Array:
        """Standard error of the mean; NaN where it cannot be told."""
        return np.where(self.freedom > 0, np.sqrt(self.variance), np.nan)

    def p(self) -> Array:
        """Two-sided p that the mean is 0; 1 where it is 0 for every user, NaN where one user is all there is."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found = 2 * stats.t.sf(np.abs(self.mean) / self.error, np.maximum(self.freedom, 1e-9))
        return np.where((self.mean == 0) & (self.variance == 0) & (self.freedom > 0), 1.0, found)

    def margin(self, level: float = 0.95) -> Array:
        """Half of the t-interval's width."""
        found: Array = self.error * stats.t.ppf((1 + level) / 2, np.maximum(self.freedom, 1e-9))
        return found

    def detectable(self, power: float = 0.8, level: float = 0.05) -> Array:
        """Smallest true difference that a two-sided test at `level` finds with this power, were the study repeated
        with as many users and seeds: (t_{1 - level/2} + t_{power}) standard errors. NaN where nothing varies."""
        freedom = np.maximum(self.freedom, 1e-9)
        found = self.error * (stats.t.ppf(1 - level / 2, freedom) + stats.t.ppf(power, freedom))
        return np.where(self.variance > 0, found, np.nan)


@dataclass(frozen=True)
class Moments:
    """Sums over users: all that means, t-tests and power need, of rows and of every pair of them."""

    n_users: int
    over_users: Array
    """[seeds, rows] sums of values."""
    of_users: Array
    """Products of the users' sums over seeds: [rows, rows], or [rows] where no pairs are wanted."""
    of_all: Array
    """Products of all values, likewise."""

    @classmethod
    def of(cls, values: Values, *, pairs: bool = False) -> Moments:
        """Of values [seeds, users, rows]; the products of every pair of rows where `pairs` are wanted."""
        height = max(1, AT_A_TIME // max(1, values.shape[0] * values.shape[2]))
        starts = range(0, max(1, values.shape[1]), height)
        return cls.together((values[:, start : start + height] for start in starts), pairs=pairs)

    @classmethod
    def together(cls, blocks: Iterable[Values], *, pairs: bool = False) -> Moments:
        """Of values that arrive a block of users at a time, so that they need not all fit into memory."""
        parts = [cls._of_block(np.asarray(block, dtype=np.float64), pairs) for block in blocks]
        return cls(
            sum(part.n_users for part in parts),
            np.sum([part.over_users for part in parts], axis=0),
            np.sum([part.of_users for part in parts], axis=0),
            np.sum([part.of_all for part in parts], axis=0),
        )

    @classmethod
    def _of_block(cls, block: Array, pairs: bool) -> Moments:
        users, flat = block.sum(axis=0), block.reshape(-1, block.shape[-1])
        if pairs:
            return cls(block.shape[1], block.sum(axis=1), users.T @ users, flat.T @ flat)
        squares = [np.einsum("ur,ur->r", part, part) for part in (users, flat)]
        return cls(block.shape[1], block.sum(axis=1), squares[0], squares[1])

    @property
    def n_seeds(self) -> int:
        """How many seeds the users were evaluated under."""
        return len(self.over_users)

    @property
    def users_spread(self) -> Array:
        """[rows] standard deviation of the users' means over seeds."""
        mean = self.over_users.sum(axis=0) / self.n_seeds
        raw = _diagonal(self.of_users) / self.n_seeds**2
        about = raw - mean**2 / self.n_users
        found: Array = np.sqrt(np.where(about > NOTHING * raw, about, 0.0) / max(self.n_users - 1, 1))
        return found

    def rows(self) -> Estimate:
        """The mean of each row over users and seeds."""
        mean, *squares = self._squares()
        return self._estimate(mean, *map(_diagonal, squares))

    def pairs(self) -> Estimate:
        """[rows, rows] the mean difference, row minus column."""
        mean, *squares = self._squares()
        own = [np.diag(one) for one in squares]
        scale = np.sum(own, axis=0)
        floor = NOTHING * (scale[:, None] + scale[None, :])
        differing = [one[:, None] + one[None, :] - 2 * both for one, both in zip(own, squares, strict=True)]
        return self._estimate(mean[:, None] - mean[None, :], *(np.where(one > floor, one, 0.0) for one in differing))

    def _squares(self) -> tuple[Array, Array, Array, Array]:
        """[rows] means, and the mean squares (and products) of seeds, users and what is left."""
        n_seeds, n = self.n_seeds, self.n_users
        product = np.outer if self.of_users.ndim == 2 else np.multiply
        mean = self.over_users.sum(axis=0) / (n_seeds * n)
        whole = n_seeds * n * product(mean, mean)
        seeds = np.sum([product(one, one) for one in self.over_users], axis=0) / n - whole
        users = self.of_users / n_seeds - whole
        rest = self.of_all - whole - seeds - users
        users_freedom, seeds_freedom = max(n - 1, 1), max(n_seeds - 1, 1)
        return mean, seeds / seeds_freedom, users / users_freedom, rest / (users_freedom * seeds_freedom)

    def _estimate(self, mean: Array, seeds: Array, users: Array, rest: Array) -> Estimate:
        n_seeds, n = self.n_seeds, self.n_users
        if n < 2:
            return Estimate(mean, np.zeros_like(mean), np.zeros_like(mean))
        from_seeds = np.maximum(seeds, 0) if n_seeds > 1 else np.zeros_like(mean)
        from_users = np.maximum(users - (rest if n_seeds > 1 else 0), 0)
        total = from_seeds + from_users
        spread = from_seeds**2 / max(n_seeds - 1, 1) + from_users**2 / (n - 1)
        freedom = np.divide(total**2, spread, out=np.full_like(mean, float(n - 1)), where=spread > 0)
        return Estimate(mean, total / (n_seeds * n), freedom)


def _diagonal(products: Array) -> Array:
    return np.diag(products) if products.ndim == 2 else products


def table(values: Values) -> Values:
    """The values as [seeds, users, rows], without the users for whom a row or a seed has none (NaN)."""
    whole = values[..., None] if values.ndim == 2 else values
    if np.isfinite(whole).all():
        return whole
    kept: Values = whole[:, np.isfinite(whole).all(axis=(0, 2))]
    return kept
