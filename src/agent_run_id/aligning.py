"""Aligning: which run of one tree does the work of which run of another.

Siblings that have a key are paired by it. The others keep their order, and are paired by what is alike in them, the
surest likeness first: everything they and the runs below them did; kind, name and input; the same with what differs
from run to run masked; kind and name. Each is a longest common subsequence within what the surer ones left between
two pairs, so a step put in or taken out moves no other.

It costs about as much as reading both: equal ends are cut off, and of the rest only the possible pairs are looked at.
Where a few texts repeat so often that there are more than 16 of those for every run, a run is only tried with the few
that are about as many repetitions from the first, or from the last, as itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict, deque
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from agent_run_id.comparing import FIELDS, canonical, masked, same, value_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from agent_run_id.tree import Tree

__all__ = ["Aligner", "By", "Match", "Siblings", "common"]

By = Literal["root", "key", "input", "masked", "moved", "name"]
"""What two runs are paired by. ``masked``: inputs that differ only in ids, times and temporary paths."""

_Gap = tuple[list[int], list[int]]
_Found = dict[int, tuple[int, By]]
_Stages = tuple[tuple[By, "Callable[[Tree], bytes]"], ...]

_TRIES: Final = 16
_ALWAYS: Final = 4096
_NEAR: Final = 8


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
        self._surest: _Stages = (("input", self._whole), ("input", _given), ("masked", _masked))

    def siblings(self, a: Sequence[Tree], b: Sequence[Tree]) -> Siblings:
        """Pair the children of two runs."""
        mine, theirs = _places(a), _places(b)
        found: _Found = {}
        repeated: list[tuple[str, tuple[int, int]]] = []
        for key in {**mine, **theirs}:
            places = (mine.get(key, []), theirs.get(key, []))
            counts = (len(places[0]), len(places[1]))
            if key is not None and max(counts) > 1:
                repeated.append((key, counts))
            if 0 in counts:
                continue
            if key is None:
                found |= self._unkeyed(a, b, places)
            elif counts == (1, 1):
                found[places[0][0]] = (places[1][0], "key")
            else:
                found |= self._of_one_key(a, b, places)
        return Siblings(list(_merged(a, b, found)), repeated)

    def _unkeyed(self, a: Sequence[Tree], b: Sequence[Tree], places: _Gap) -> _Found:
        mine, theirs = places
        if len(mine) == len(theirs) and all(_same_given(a[i], b[j]) for i, j in zip(mine, theirs, strict=True)):
            return _found(zip(mine, theirs, strict=True), "input")  # as nearly always, and nothing has to be hashed
        surely = self._staged(a, b, [places], self._surest)
        taken = {j for j, _ in surely.values()}
        left = ([i for i in mine if i not in surely], [j for j in theirs if j not in taken])
        moved = dict(self._moved(a, b, left))
        away = set(moved.values())
        gaps = [
            ([i for i in some if i not in moved], [j for j in others if j not in away])
            for some, others in _between(places, sorted((i, j) for i, (j, _) in surely.items()))
        ]
        return surely | _found(moved.items(), "moved") | self._staged(a, b, gaps, (("name", _named),))

    def _moved(self, a: Sequence[Tree], b: Sequence[Tree], left: _Gap) -> Iterator[tuple[int, int]]:
        """Those that did the same in another order: of calls that ran at the same time, either may be the first."""
        mine, theirs = left
        for _, token in self._surest:
            waiting: defaultdict[bytes, deque[int]] = defaultdict(deque)
            for j in theirs:
                waiting[token(b[j])].append(j)
            pairs = {i: alike.popleft() for i in mine if (alike := waiting.get(token(a[i])))}
            yield from pairs.items()
            taken = set(pairs.values())
            mine, theirs = [i for i in mine if i not in pairs], [j for j in theirs if j not in taken]

    def _of_one_key(self, a: Sequence[Tree], b: Sequence[Tree], places: _Gap) -> _Found:
        found = self._staged(a, b, [places], (*self._surest, ("key", _anything)))
        return _found(((i, j) for i, (j, _) in found.items()), "key")

    def _staged(self, a: Sequence[Tree], b: Sequence[Tree], gaps: Sequence[_Gap], stages: _Stages) -> _Found:
        """Pairs in order, by one likeness after the other, each within what the ones before it left."""
        found: _Found = {}
        for by, token in stages:
            left: list[_Gap] = []
            for mine, theirs in gaps:
                places = common([token(a[i]) for i in mine], [token(b[j]) for j in theirs])
                pairs = [(mine[i], theirs[j]) for i, j in places]
                found |= _found(pairs, by)
                left += _between((mine, theirs), pairs)
            gaps = left
        return found

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
        children: Sequence[Tree] = node.children
        if any(child.record.key is not None for child in children):  # the order of those does not matter
            children = sorted(children, key=lambda child: (child.record.key is not None, child.record.key or ""))
        digest.update(b"\0")  # never part of a text
        for child in children:
            digest.update(self._wholes[child])
        return digest.digest()


def _found(pairs: Iterable[tuple[int, int]], by: By) -> _Found:
    return {i: (j, by) for i, j in pairs}


def _same_given(a: Tree, b: Tree) -> bool:
    one, other = a.record, b.record
    return one.kind == other.kind and one.name == other.name and same(one.input, other.input)


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


def _between(places: _Gap, pairs: Sequence[tuple[int, int]]) -> Iterator[_Gap]:
    """What is left of two sequences before, between and after pairs of them, where something is left of both."""
    mine, theirs = places
    after_i = after_j = 0
    for i, j in (*pairs, (None, None)):
        upto_i = len(mine) if i is None else bisect_left(mine, i)
        upto_j = len(theirs) if j is None else bisect_left(theirs, j)
        if after_i < upto_i and after_j < upto_j:
            yield mine[after_i:upto_i], theirs[after_j:upto_j]
        after_i, after_j = upto_i + 1, upto_j + 1


def _merged(a: Sequence[Tree], b: Sequence[Tree], found: _Found) -> Iterator[Match]:
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
    times, nth = Counter(a), Counter[bytes]()
    for i, token in enumerate(a):
        all_of_it = possible[i]
        shift = len(all_of_it) - times[token]
        near = {nth[token] + shifted + step for shifted in (0, shift) for step in range(-_NEAR, _NEAR + 1)}
        possible[i] = [all_of_it[rank] for rank in sorted(near) if 0 <= rank < len(all_of_it)]
        nth[token] += 1
    return possible
