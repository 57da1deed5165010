"""
What became of the messages: pure functions over what was acknowledged and what arrived.

Called by `experiment` after each round. `check` proves with made-up rounds that every kind of loss
and double is seen: a comparison whose counter is blind would be worth nothing.
"""

from collections import Counter
from dataclasses import astuple, dataclass, fields


@dataclass(frozen=True)
class Count:
    """Messages by number; the sums of several rounds add up."""

    # What the local store said it has.
    acked: int = 0
    # Given to the local store, and not acknowledged in time: it stalled.
    unacked: int = 0
    # Acknowledged, and neither at A nor at B.
    lost: int = 0
    # Acknowledged, and not at B: what B's owner lacks, since A is gone.
    absent_at_b: int = 0
    # Different messages of which A and B together received more than one copy.
    twice: int = 0
    # Different messages of which B alone received more than one copy.
    twice_at_b: int = 0
    # All copies behind the first: what a receiver that does not compare stores in excess.
    surplus: int = 0
    # Arrived without ever having been sent. Anything but 0 is a fault of the rig.
    unknown: int = 0

    def __add__(self, other):
        return Count(*map(sum, zip(astuple(self), astuple(other))))


def count(sent, acked, at_a, at_b):
    """`sent` and `acked` are sets; `at_a` and `at_b` every arrival, in any order."""
    a, b = Counter(at_a), Counter(at_b)
    both = a + b
    return Count(
        acked=len(acked),
        unacked=len(sent - acked),
        lost=len(acked - both.keys()),
        absent_at_b=len(acked - b.keys()),
        twice=sum(1 for copies in both.values() if copies > 1),
        twice_at_b=sum(1 for copies in b.values() if copies > 1),
        surplus=sum(copies - 1 for copies in both.values()),
        unknown=len(both.keys() - sent),
    )


def check():
    """Negative controls: each must be counted exactly. Returns how many there were."""
    sent = set(range(100))
    half, rest = list(range(50)), list(range(50, 100))
    controls = {
        "nothing wrong": ((sent, half, rest), {}),
        "one lost in the middle": ((sent, half, rest[1:]), {"lost": 1, "absent_at_b": 51}),
        "everything behind the kill lost": ((sent, half, []), {"lost": 50, "absent_at_b": 100}),
        "nothing arrived at all": ((sent, [], []), {"lost": 100, "absent_at_b": 100}),
        "lost, but never acknowledged": (
            (sent - {99}, half, rest[:-1]),
            {"acked": 99, "unacked": 1},
        ),
        "arrived, but never acknowledged": ((sent - {99}, half, rest), {"acked": 99, "unacked": 1}),
        "sent again to B": (
            (sent, half, [48, 49] + rest),
            {"twice": 2, "surplus": 2, "absent_at_b": 48},
        ),
        "twice at A": ((sent, half + [0], rest), {"twice": 1, "surplus": 1}),
        "three times at B": (
            (sent, half, rest + [99, 99]),
            {"twice": 1, "twice_at_b": 1, "surplus": 2},
        ),
        "one lost, another twice": (
            (sent, half, rest[1:] + [99]),
            {"lost": 1, "absent_at_b": 51, "twice": 1, "twice_at_b": 1, "surplus": 1},
        ),
        "never sent": ((sent, half, rest + [100]), {"unknown": 1}),
        "B has everything by itself": (
            (sent, half, half + rest),
            {"absent_at_b": 0, "twice": 50, "surplus": 50},
        ),
    }
    for name, ((acked, at_a, at_b), wanted) in controls.items():
        got = count(sent, acked, at_a, at_b)
        expected = {field.name: 0 for field in fields(Count)}
        expected.update({"acked": 100, "absent_at_b": 50}, **wanted)
        for field, value in expected.items():
            if (seen := getattr(got, field)) != value:
                raise AssertionError(f"{name}: {field} is {seen}, wanted {value}")
    two = count(sent, sent, half, rest[1:]) + count(sent, sent, half, rest[2:])
    if (two.acked, two.lost) != (200, 3):
        raise AssertionError(f"two rounds: {two}")
    return len(controls) + 1
