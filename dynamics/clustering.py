"""Spectral clustering by the angles between vectors, as in quanta discovery from gradients (Michaud et al. 2023).

The steps are scikit-learn's for `SpectralClustering(affinity="precomputed")`, on scipy: eigenvectors of the normalised
Laplacian, then k-means from several seeded starts. Loads without torch.
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from scipy.linalg import eigh

STARTS, ROUNDS = 30, 100

Vectors = NDArray[np.floating]
Whole = NDArray[np.int64]


def angular_affinity(vectors: Vectors) -> NDArray[np.float64]:
    """1 - arccos(cosine) / pi for every pair: 1 for the same direction, 1/2 for a right angle, 0 for opposite ones.

    A vector of no length has a right angle to every other.

    >>> angular_affinity(np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])).round(2).tolist()
    [[1.0, 0.5, 0.0], [0.5, 1.0, 0.5], [0.0, 0.5, 1.0]]
    """
    length = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit = np.divide(vectors, length, out=np.zeros(vectors.shape), where=length > 0)
    affinity = 1 - np.arccos((unit @ unit.T).clip(-1, 1)) / np.pi  # rounding takes cosines beyond 1
    np.fill_diagonal(affinity, 1.0)
    return affinity


def spectral_clusters(affinity: NDArray[np.float64], n_clusters: int, *, seed: int = 0) -> Whole:
    """The cluster of each item, the largest cluster first, at most `n_clusters` of them.

    >>> spectral_clusters(np.kron(np.eye(2), np.ones((2, 2))) + 0.01, 2).tolist()
    [0, 0, 1, 1]
    """
    n = len(affinity)
    if n_clusters <= 1 or n <= 1:
        return np.zeros(n, np.int64)
    between = affinity - np.diag(affinity.diagonal())
    root = np.sqrt(between.sum(1))
    root[root == 0] = 1.0
    wanted = min(n_clusters, n)
    _, vectors = eigh(between / root / root[:, None], subset_by_index=(n - wanted, n - 1))
    return _by_size(_k_means(vectors / root[:, None], wanted, np.random.default_rng(seed)))


def _k_means(points: NDArray[np.float64], k: int, random: np.random.Generator) -> Whole:
    """The assignment with the smallest sum of squared distances, over all starts."""
    best, least = np.zeros(len(points), np.int64), np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a cluster that loses all its points: there are fewer groups than asked for
        for _ in range(STARTS):
            centres, label = kmeans2(points, k, iter=ROUNDS, minit="++", rng=random)
            distance = float(np.square(points - centres[label]).sum())
            if distance < least:
                best, least = label.astype(np.int64), distance
    return best


def _by_size(label: Whole) -> Whole:
    """Numbered by size, and of equal ones by their first member."""
    names, first, count = np.unique(label, return_index=True, return_counts=True)
    place = np.empty(int(names.max()) + 1, np.int64)
    place[names[np.lexsort((first, -count))]] = np.arange(len(names))
    return place[label]
