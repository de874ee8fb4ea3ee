"""The Frechet distance against closed forms, with few images, many features, and features that do not vary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.linalg import sqrtm

from s2l_core.fidelity.frechet import frechet_distance


def sample(mean: Any, covariance: Any, n: int, seed: int) -> Any:
    """n rows whose mean and covariance are exactly these."""
    mean, covariance = np.asarray(mean, dtype=float), np.asarray(covariance, dtype=float)
    drawn = np.random.default_rng(seed).normal(size=(n, len(mean)))
    drawn -= drawn.mean(axis=0)
    white = drawn @ np.linalg.inv(np.linalg.cholesky(drawn.T @ drawn / (n - 1))).T
    values, vectors = np.linalg.eigh(covariance)
    return white @ (vectors * np.sqrt(np.clip(values, 0, None))).T + mean


def spd(d: int, seed: int) -> Any:
    root = np.random.default_rng(seed).normal(size=(d, d))
    return root @ root.T / d + 0.1 * np.eye(d)


def by_eigenvalues(a: Any, b: Any) -> float:
    """The formula as it stands, through the eigenvalues of S^(1/2) T S^(1/2), which are real and not negative."""
    s, t = np.cov(a.T), np.cov(b.T)
    values, vectors = np.linalg.eigh(s)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ t @ root), 0, None)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s) + np.trace(t) - 2 * shared)


def test_in_one_dimension_it_is_the_difference_of_means_and_of_deviations_squared() -> None:
    assert frechet_distance(sample([3], [[4]], 20, 0), sample([-1], [[0.25]], 30, 1)) == pytest.approx(16 + 1.5**2)


def test_of_axis_aligned_gaussians_the_dimensions_add_up() -> None:
    a, b = sample([0, 1, 2], np.diag([1, 4, 9]), 40, 0), sample([1, 1, 0], np.diag([9, 4, 1]), 50, 1)
    assert frechet_distance(a, b) == pytest.approx(1 + 4 + (1 - 3) ** 2 + 0 + (3 - 1) ** 2)


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_formula_with_the_root_of_the_product_of_the_covariances(seed: int) -> None:
    s, t, u = spd(6, seed), spd(6, seed + 50), np.arange(6.0) / 3
    expected = float((u**2).sum() + np.trace(s + t - 2 * sqrtm(s @ t).real))
    assert frechet_distance(sample(0 * u, s, 30, seed), sample(u, t, 45, seed + 9)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "m", "d"), [(5, 7, 40), (3, 100, 40), (2, 2, 300), (60, 50, 40)])
def test_fewer_images_than_features_are_no_special_case(n: int, m: int, d: int) -> None:
    random = np.random.default_rng(n)
    a, b = random.normal(size=(n, d)), random.normal(size=(m, d)) * np.linspace(0, 2, d) + 0.3
    assert frechet_distance(a, b) == pytest.approx(by_eigenvalues(a, b), rel=1e-6)


def test_a_set_has_no_distance_to_itself_and_a_shifted_one_the_shift_s_square() -> None:
    a = np.random.default_rng(0).normal(size=(30, 100))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(a, a[::-1] + 2.0) == pytest.approx(400, rel=1e-12)


def test_features_that_do_not_vary_or_repeat_others_do_no_harm() -> None:
    a, b = (np.random.default_rng(seed).normal(size=(20, 3)) for seed in range(2))
    widened = [np.hstack([one, np.full((20, 2), 7.0), one[:, :1] * 0]) for one in (a, b)]
    assert frechet_distance(*widened) == pytest.approx(frechet_distance(a, b), rel=1e-9)
    copied = [np.hstack([one, one]) for one in (a, b)]
    assert frechet_distance(*copied) == pytest.approx(2 * frechet_distance(a, b), rel=1e-9)


def test_it_is_symmetric_and_does_not_depend_on_the_axes() -> None:
    random = np.random.default_rng(3)
    a, b = random.normal(size=(20, 8)), random.normal(size=(25, 8)) * 2
    turned = np.linalg.qr(random.normal(size=(8, 8)))[0]
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)
    assert frechet_distance(a @ turned, b @ turned) == pytest.approx(frechet_distance(a, b), rel=1e-9)


def test_two_sets_of_one_distribution_are_apart_and_less_so_with_more_images() -> None:
    """The bias that docs/fidelity.md states: it is why distances are compared at one size."""
    random = np.random.default_rng(0)
    mean = {
        n: np.mean([frechet_distance(random.normal(size=(n, 10)), random.normal(size=(n, 10))) for _ in range(20)]) for n in (20, 80, 320)
    }
    assert mean[20] > 3 * mean[80] > 9 * mean[320] > 0.1


def test_too_few_images_and_other_features_are_refused() -> None:
    with pytest.raises(ValueError, match="needs two images on each side; got 1 and 5"):
        frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="the sets have 3 and 4 features"):
        frechet_distance(np.zeros((5, 3)), np.zeros((5, 4)))
