"""Which processes do not run the same code as others: by the handlers that they declare."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from django_events.presence.activity import ALL, Declared, shortened
from django_events.status.overview import Difference, ProcessLine


def differences(processes: Sequence[ProcessLine], here: Declared) -> tuple[Difference, ...]:
    """What the processes that are there declare otherwise than this one; or than the one that began last, if this
    one does not declare the group. A process that does not declare a group at all may be of another site."""
    alive = sorted((each for each in processes if not each.is_silent), key=lambda each: each.age)
    declared = [(each.name, dict(each.activity.declared)) for each in alive if each.activity]
    groups = sorted({group for _, theirs in declared for group in theirs})
    return tuple(found for group in groups for found in _of_group(group, declared, here))


def _of_group(group: str, declared: Sequence[tuple[str, Declared]], here: Declared) -> list[Difference]:
    having = [(name, theirs[group]) for name, theirs in declared if group in theirs]
    ours = here.get(group, having[0][1])
    kinds: defaultdict[tuple[tuple[str, str], ...], list[str]] = defaultdict(list)
    for name, theirs in having:
        if dict(theirs) not in (dict(ours), shortened(ours)):
            kinds[tuple(sorted(theirs.items()))].append(name)
    return [_difference(group, names, dict(theirs), ours) for theirs, names in kinds.items()]


def _difference(group: str, names: list[str], theirs: Mapping[str, str], ours: Mapping[str, str]) -> Difference:
    if ALL in theirs:
        return Difference(group=group, processes=tuple(names), changed=(), lacking=(), additional=())
    return Difference(
        group=group,
        processes=tuple(names),
        changed=tuple(sorted(name for name in theirs.keys() & ours.keys() if theirs[name] != ours[name])),
        lacking=tuple(sorted(ours.keys() - theirs.keys())),
        additional=tuple(sorted(theirs.keys() - ours.keys())),
    )
