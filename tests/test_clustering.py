"""Spectral clustering by angles: planted groups, scikit-learn's answer, and what has no groups."""

from __future__ import annotations

import numpy as np
import pytest

from dynamics.clustering import angular_affinity, spectral_clusters


def planted(sizes: tuple[int, ...], noise: float, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors along as many axes as there are groups, with noise in all of 50 dimensions; and their groups."""
    random = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    vectors = noise * random.normal(size=(len(group), 50))
    vectors[np.arange(len(group)), group] += random.uniform(1, 5, len(group))
    return vectors, group


def test_planted_groups_are_found_largest_first() -> None:
    vectors, group = planted((30, 12, 5), noise=0.05)
    order = np.random.default_rng(1).permutation(len(group))
    found = spectral_clusters(angular_affinity(vectors[order]), 3)
    assert (found == group[order]).all()


def test_the_angle_is_that_between_the_vectors_whatever_their_length() -> None:
    angle = np.linspace(0, np.pi, 7)
    vectors = np.stack([np.cos(angle), np.sin(angle)], 1) * np.array([1e-8, 1, 7, 1e6, 2, 3, 4])[:, None]
    assert angular_affinity(vectors)[0] == pytest.approx(1 - angle / np.pi)


def test_equal_vectors_are_at_no_angle_although_rounding_takes_their_cosine_beyond_one() -> None:
    vector = np.random.default_rng(0).normal(size=300)
    affinity = angular_affinity(np.stack([vector, vector, 3 * vector]).astype(np.float32))
    assert np.isfinite(affinity).all()
    assert affinity == pytest.approx(1.0, abs=1e-3)


def test_a_vector_of_no_length_is_at_a_right_angle_to_all() -> None:
    assert angular_affinity(np.array([[0.0, 0.0], [1.0, 0.0]])).tolist() == [[1.0, 0.5], [0.5, 1.0]]


def test_the_same_seed_gives_the_same_groups_and_another_as_good_ones() -> None:
    vectors, group = planted((20, 15, 10, 5), noise=0.1)
    affinity = angular_affinity(vectors)
    assert (spectral_clusters(affinity, 4, seed=0) == spectral_clusters(affinity, 4, seed=0)).all()
    assert (spectral_clusters(affinity, 4, seed=5) == group).all()


def test_one_cluster_fewer_items_than_clusters_and_items_that_are_all_alike() -> None:
    assert spectral_clusters(np.ones((5, 5)), 1).tolist() == [0] * 5
    assert spectral_clusters(np.ones((1, 1)), 4).tolist() == [0]
    assert set(spectral_clusters(np.eye(3) + 0.1, 9)) <= {0, 1, 2}
    assert len(spectral_clusters(np.ones((6, 6)), 3)) == 6


def test_the_affinity_is_left_as_it_is() -> None:
    affinity = angular_affinity(planted((4, 4), noise=0.1)[0])
    before = affinity.copy()
    spectral_clusters(affinity, 2)
    assert (affinity == before).all()


def test_the_groups_are_those_of_scikit_learn() -> None:
    cluster = pytest.importorskip("sklearn.cluster", reason="scikit-learn is not installed")
    vectors, _ = planted((25, 20, 15, 10), noise=0.35, seed=3)
    affinity = angular_affinity(vectors)
    theirs = cluster.SpectralClustering(4, affinity="precomputed", n_init=30, random_state=0).fit_predict(affinity)
    ours = spectral_clusters(affinity, 4)
    assert len({*zip(ours.tolist(), theirs.tolist(), strict=True)}) == 4
