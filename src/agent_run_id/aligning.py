"""Aligning: which run of one tree does the work of which run of another.

Siblings that have a key are paired by it. The others keep their order, and are paired by what is alike in them, the
surest likeness first: everything they and the runs below them did; kind, name and input; the same with what differs
from run to run masked; kind and name. Each is a longest common subsequence within what the surer ones left between
two pairs, so a step put in or taken out moves no other.

It costs about as much as reading both: equal ends are cut off, and of the rest only the possible pairs are looked at.
Where a few texts repeat so often that there are more than 16 of those for every run, a run is only tried with the one
that is as many repetitions from the first, or from the last, as itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from agent_run_id.comparing import FIELDS, canonical, masked, value_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from agent_run_id.tree import Tree

__all__ = ["Aligner", "By", "Match", "Siblings", "common"]

By = Literal["root", "key", "input", "masked", "name"]
"""What two runs are paired by. ``masked``: inputs that differ only in ids, times and temporary paths."""

_TRIES: Final = 16
_ALWAYS: Final = 4096


class Match(NamedTuple):
    """Two siblings that are paired, or one that is not."""

    a: Tree | None
    b: Tree | None
    by: By | None


class Siblings(NamedTuple):
    """The children of two runs.

    Attributes:
        matches: In the order of `a`; one that only `b` has comes before the next pair.
        repeated: The keys that several of them have, each with how many have it in `a` and in `b`.
    """

    matches: list[Match]
    repeated: list[tuple[str, tuple[int, int]]]


class Aligner:
    """Pairs the children of runs of two trees.

    Args:
        a: One tree.
        b: The other.
    """

    def __init__(self, a: Tree, b: Tree) -> None:
        self._trees = (a, b)
        self._wholes: dict[Tree, bytes] = {}
        self._stages: tuple[tuple[By, Callable[[Tree], bytes]], ...] = (
            ("input", self._whole),
            ("input", _given),
            ("masked", _masked),
            ("name", _named),
        )

    def siblings(self, a: Sequence[Tree], b: Sequence[Tree]) -> Siblings:
        """Pair the children of two runs."""
        found: dict[int, tuple[int, By]] = {}
        mine, theirs = _places(a), _places(b)
        repeated: list[tuple[str, tuple[int, int]]] = []
        for key in {**mine, **theirs}:
            places = (mine.get(key, []), theirs.get(key, []))
            if key is not None and max(map(len, places)) > 1:
                repeated.append((key, (len(places[0]), len(places[1]))))
            for i, j, by in self._aligned(a, b, places, by_key=key is not None):
                found[i] = (j, by)
        return Siblings(list(_merged(a, b, found)), repeated)

    def _aligned(
        self, a: Sequence[Tree], b: Sequence[Tree], places: tuple[list[int], list[int]], *, by_key: bool
    ) -> Iterator[tuple[int, int, By]]:
        if by_key and len(places[0]) == len(places[1]) == 1:
            yield places[0][0], places[1][0], "key"
            return
        gaps = [places]
        stages = (*self._stages, ("key", _anything)) if by_key else self._stages
        for by, token in stages:
            left: list[tuple[list[int], list[int]]] = []
            for mine, theirs in gaps:
                pairs = common([token(a[i]) for i in mine], [token(b[j]) for j in theirs])
                for i, j in pairs:
                    yield mine[i], theirs[j], "key" if by_key else by
                left += _between(mine, theirs, pairs)
            gaps = left

    def _whole(self, node: Tree) -> bytes:
        """What a run and all below it did, in 16 bytes; made for both trees when it is first asked for."""
        if not self._wholes:
            for tree in self._trees:
                for each in reversed(list(tree.walk())):
                    self._wholes[each] = self._digest(each)
        return self._wholes[node]

    def _digest(self, node: Tree) -> bytes:
        record = node.record
        own = canonical([record.key, *(value_of(record, field) for field in FIELDS)])
        digest = blake2b(own.encode(), digest_size=16)
        children = node.children
        if any(child.record.key is not None for child in children):  # the order of those does not matter
            children = sorted(children, key=lambda child: (child.record.key is not None, child.record.key or ""))
        for child in children:
            digest.update(self._wholes[child])
        return digest.digest()


def _given(node: Tree) -> bytes:
    record = node.record
    return _short(canonical([record.kind, record.name, record.input]))


def _masked(node: Tree) -> bytes:
    record = node.record
    return _short(masked(canonical([record.kind, record.name, record.input])))


def _named(node: Tree) -> bytes:
    return _short(canonical([node.record.kind, node.record.name]))


def _anything(_: Tree) -> bytes:
    return b""


def _short(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()


def _places(siblings: Sequence[Tree]) -> Mapping[str | None, list[int]]:
    """Where the siblings are that have a key, and under None those that have none."""
    places: defaultdict[str | None, list[int]] = defaultdict(list)
    for place, node in enumerate(siblings):
        places[node.record.key].append(place)
    return places


def _between(
    mine: list[int], theirs: list[int], pairs: Sequence[tuple[int, int]]
) -> Iterator[tuple[list[int], list[int]]]:
    """What is left of two sequences before, between and after pairs of them, where something is left of both."""
    after_i = after_j = 0
    for i, j in (*pairs, (len(mine), len(theirs))):
        if after_i < i and after_j < j:
            yield mine[after_i:i], theirs[after_j:j]
        after_i, after_j = i + 1, j + 1


def _merged(a: Sequence[Tree], b: Sequence[Tree], found: Mapping[int, tuple[int, By]]) -> Iterator[Match]:
    paired = {j for j, _ in found.values()}
    waiting: list[Match] = []
    before: dict[int, list[Match]] = {}
    for j, node in enumerate(b):
        if j in paired:
            before[j], waiting = waiting, []
        else:
            waiting.append(Match(None, node, None))
    for i, node in enumerate(a):
        if i in found:
            j, by = found[i]
            yield from before[j]
            yield Match(node, b[j], by)
        else:
            yield Match(node, None, None)
    yield from waiting


# Longest common subsequences ------------------------------------------------------------------------------------------


def common(a: Sequence[bytes], b: Sequence[bytes]) -> list[tuple[int, int]]:
    """The places of a longest common subsequence, in order: the same ones whichever of the two comes first."""
    if (len(a), a) > (len(b), b):
        return [(i, j) for j, i in common(b, a)]
    size = min(len(a), len(b))
    head = next((place for place in range(size) if a[place] != b[place]), size)
    tail = next((place for place in range(size - head) if a[-1 - place] != b[-1 - place]), size - head)
    inner = _longest(a[head : len(a) - tail], b[head : len(b) - tail])
    return [
        *((place, place) for place in range(head)),
        *((head + i, head + j) for i, j in inner),
        *((len(a) - place, len(b) - place) for place in range(tail, 0, -1)),
    ]


_Link = tuple[int, int, "_Link | None"]


def _longest(a: Sequence[bytes], b: Sequence[bytes]) -> list[tuple[int, int]]:
    """After Hunt and Szymanski: the longest chain of possible pairs, in the time of sorting these."""
    ends: list[int] = []  # of the chains of each length, the one that ends soonest in b
    links: list[_Link] = []
    for i, possible in enumerate(_possible(a, b)):
        for j in reversed(possible):
            length = bisect_left(ends, j)
            if length == len(ends):
                ends.append(j)
                links.append((i, j, links[-1] if links else None))
            elif j < ends[length]:
                ends[length] = j
                links[length] = (i, j, links[length - 1] if length else None)
    pairs: list[tuple[int, int]] = []
    link = links[-1] if links else None
    while link is not None:
        i, j, link = link
        pairs.append((i, j))
    return pairs[::-1]


def _possible(a: Sequence[bytes], b: Sequence[bytes]) -> list[Sequence[int]]:
    """For each place of `a` the places of `b` that it may be paired with."""
    places: defaultdict[bytes, list[int]] = defaultdict(list)
    for j, token in enumerate(b):
        places[token].append(j)
    possible: list[Sequence[int]] = [places.get(token, ()) for token in a]
    if sum(map(len, possible)) <= _TRIES * (len(a) + len(b)) + _ALWAYS:
        return possible
    times: defaultdict[bytes, int] = defaultdict(int)
    for token in a:
        times[token] += 1
    nth: defaultdict[bytes, int] = defaultdict(int)
    for i, token in enumerate(a):
        all_of_it = possible[i]
        ranks = {nth[token], nth[token] + len(all_of_it) - times[token]}
        possible[i] = [all_of_it[rank] for rank in sorted(ranks) if 0 <= rank < len(all_of_it)]
        nth[token] += 1
    return possible
