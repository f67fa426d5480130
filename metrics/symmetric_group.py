"""Shared maths of composition in S_n: the permutations, their products, the irreducible representations and their
characters. Registers no metric.

Permutations of 0 .. n - 1 are numbered in lexicographic order, and a b means b first: (a b)(i) = a(b(i)). Irreducible
representations are named by partitions of n, such as "3+1+1": "n" is the trivial one and "1+1+...+1" the sign.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import permutations

import torch
from jaxtyping import Float, Int
from torch import Tensor

Permutation = tuple[int, ...]
Tableau = tuple[tuple[int, ...], ...]  # rows of a Young tableau, each with the numbers that stand in it


@cache
def elements(n: int) -> tuple[Permutation, ...]:
    """All permutations of n letters, in lexicographic order."""
    return tuple(permutations(range(n)))


@cache
def products(n: int) -> Int[Tensor, "g g"]:
    """The number of a b in row a, column b.

    >>> products(2)
    tensor([[0, 1],
            [1, 0]])
    """
    number = {one: i for i, one in enumerate(elements(n))}
    return torch.tensor([[number[tuple(a[i] for i in b)] for b in elements(n)] for a in elements(n)])


@cache
def quotients(n: int) -> Int[Tensor, "g g"]:
    """The number of a b^-1 in row a, column b."""
    inverse = (products(n) == 0).int().argmax(1)  # the identity is the first permutation
    return products(n)[:, inverse]


def partitions(n: int, largest: int | None = None) -> list[tuple[int, ...]]:
    """The partitions of n, the largest parts first.

    >>> partitions(3)
    [(3,), (2, 1), (1, 1, 1)]
    """
    if n == 0:
        return [()]
    return [(first, *rest) for first in range(min(n, largest or n), 0, -1) for rest in partitions(n - first, first)]


@cache
def representation(partition: tuple[int, ...]) -> Float[Tensor, "g d d"]:
    """The matrices of an irreducible representation, orthogonal (Young's orthogonal form), for every permutation.

    A transposition of the letters i and i + 1 has 1/r on the diagonal, r the distance in the standard tableau from i
    to i + 1 along contents (column less row), and sqrt(1 - 1/r^2) between tableaux that differ by exchanging the two.
    """
    n, tableaux = sum(partition), _tableaux(partition)
    swaps = [_adjacent(tableaux, i) for i in range(n - 1)]
    matrices = []
    for permutation in elements(n):
        matrix, letters = torch.eye(len(tableaux), dtype=torch.float64), list(permutation)
        # Sorting by exchanges of neighbours spells the permutation as a word: letters = s_k ... s_1 sorted.
        for end in range(n - 1, 0, -1):
            for i in range(end):
                if letters[i] > letters[i + 1]:
                    letters[i], letters[i + 1] = letters[i + 1], letters[i]
                    matrix = swaps[i] @ matrix
        matrices.append(matrix)
    return torch.stack(matrices)


@cache
def characters(n: int) -> dict[str, Float[Tensor, " g"]]:
    """The character of every irreducible representation of S_n, integers, by the name of its partition.

    >>> {name: int(character[0]) for name, character in characters(4).items()}
    {'4': 1, '3+1': 3, '2+2': 2, '2+1+1': 3, '1+1+1+1': 1}
    """
    return {
        "+".join(map(str, partition)): representation(partition).diagonal(dim1=1, dim2=2).sum(1).round()
        for partition in partitions(n)
    }


def letters_of(order: int, answer: Int[Tensor, " pair"]) -> int | None:
    """n, where the answers to all pairs, a-major, are the products in S_n; None for any other operation."""
    n = next((n for n in range(2, 7) if math.factorial(n) == order), None)
    return n if n is not None and torch.equal(answer.cpu(), products(n).flatten()) else None


def isotypic(values: Float[Tensor, "g c"], n: int, name: str) -> Float[Tensor, "g c"]:
    """The part of functions on S_n that matrix elements of one irreducible representation span."""
    character = characters(n)[name].to(values.device)
    return character[0] / len(character) * character[quotients(n).to(values.device)] @ values


def _tableaux(partition: tuple[int, ...]) -> list[Tableau]:
    """The standard Young tableaux of a shape, filled with 0 .. n - 1."""
    n = sum(partition)
    if n == 0:
        return [()]
    found = []
    for row, length in enumerate(partition):
        below = partition[row + 1] if row + 1 < len(partition) else 0
        if length > below:  # the largest number stands at the end of a row that the next one does not reach
            smaller = (*partition[:row], length - 1, *partition[row + 1 :])
            for tableau in _tableaux(tuple(part for part in smaller if part)):
                rows = [*tableau, ()] if row == len(tableau) else list(tableau)
                rows[row] = (*rows[row], n - 1)
                found.append(tuple(rows))
    return found


def _adjacent(tableaux: list[Tableau], i: int) -> Float[Tensor, "d d"]:
    """The matrix of the exchange of the letters i and i + 1."""
    matrix = torch.zeros(len(tableaux), len(tableaux), dtype=torch.float64)
    place = {tableau: k for k, tableau in enumerate(tableaux)}
    for k, tableau in enumerate(tableaux):
        distance = _content(tableau, i + 1) - _content(tableau, i)
        matrix[k, k] = 1 / distance
        exchanged = tuple(tuple({i: i + 1, i + 1: i}.get(x, x) for x in row) for row in tableau)
        if exchanged in place:
            matrix[k, place[exchanged]] = math.sqrt(1 - 1 / distance**2)
    return matrix


def _content(tableau: Tableau, number: int) -> int:
    return next(row.index(number) - r for r, row in enumerate(tableau) if number in row)
