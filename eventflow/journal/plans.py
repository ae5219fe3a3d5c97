"""Plans: what is decided once for all runs of a definition on a bus, as one owner records them."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Final

from eventflow.eventbus.bus import EventBus
from eventflow.eventbus.subscriptions import Subscription
from eventflow.hooks.ledger import LASTED
from eventflow.hooks.references import reference_of
from eventflow.hooks.sets import HookSet, HookSets, hook_columns
from eventflow.journal.claims import FOR_WORKERS
from eventflow.journal.records import COUNTED, pack, usual_run
from eventflow.journal.sink import RecordSink
from eventflow.journal.wal.writer import Writer
from eventflow.primitives.texts import printable
from eventflow.runs.run import Run
from eventflow.states import StateType

__all__ = ["HookList", "Plan", "change_numbers", "make_plan", "ordinals_of"]

_CRASHED: Final = frozenset({StateType.CRASHED, "Crashed"})
"""The type and the name of the state that another process enters for the runs of a dead one."""

PLANS: Final = 1_000
"""How many plans a definition has at once; only a program that invents tags reaches the limit."""

LISTS: Final = 1_000
"""How many lists of hooks a plan caches; only hooks of single runs reach the limit."""


class HookList:
    """What records share of runs of one plan whose last transition is owed to the same hooks.

    `hooks` has the identity and the importability of each that a record counts, `more` of the
    others that the owner runs. To those for workers the store makes deliveries. `suffix` ends the
    line of events. `usual` is for `pack_usual_run`, if that is for such runs. `told_in` is the
    `told` of the last segment that is known to hold the records that have to be beside those of the
    runs.
    """

    def __init__(
        self,
        plan: Plan,
        hooks: Sequence[tuple[str, int]],
        workers: Sequence[tuple[str, int]] = (),
    ) -> None:
        self.hooks = hooks[:COUNTED]
        self.more = hooks[COUNTED:]
        self.suffix = b""
        self.told_in: set[object] | None = None
        self.records = plan.records
        if hooks or workers:
            marked = [*hooks, *((*columns, 1) for columns in workers)]
            digest = blake2b(repr(marked).encode(), digest_size=8).digest()
            name = urlsafe_b64encode(digest).rstrip(b"=")
            if workers:
                name = FOR_WORKERS.encode() + name
            self.suffix = b"@" + name
            self.records = [*plan.records, (name, pack("L", [name.decode(), *marked]))]
        self.usual = usual_run(plan.number, self.suffix) if plan.run_type == "task" else None

    def tell(self, writer: Writer) -> None:
        """Append what the present segment does not hold yet."""
        for key, record in self.records:
            segment = writer.segment
            if segment is None or key not in segment.told:
                segment, _ = writer.append(record)
                segment.told.add(key)
            self.told_in = segment.told


class Plan:
    """What is the same for all runs of a definition with the same tags, as one owner records them.

    It is kept with the routes of the definition, and made anew when these are: when a hook or a
    listener was added or removed. `changes` counts these changes of hooks up to then, for a thread
    that has taken it before the last one. `number` is that of the definition. `has_crash_hooks`
    says whether a hook may be owed the crash of such a run; `is_quiet` whether nothing is lost if
    it is not recorded before it ends, and `is_timed` whether a hook may be owed a state that
    lasts; with `has_workers` hooks may be left to workers. `lists` holds what depends on whom a
    transition is owed to, `unowed` of those owed to nobody.
    """

    def __init__(
        self,
        owner: str,
        changes: int,
        number: int,
        run: Run,
        *,
        has_crash_hooks: bool,
        is_timed: bool,
        has_workers: bool,
    ) -> None:
        self.owner = owner
        self.has_workers = has_workers
        self.changes = changes
        self.number = number
        self.run_type = run.run_type
        self.has_crash_hooks = has_crash_hooks
        self.is_quiet = run.run_type == "task" and not has_crash_hooks
        self.is_timed = is_timed
        parameters = getattr(run.definition, "parameters", None)
        self.secrets: frozenset[str] = getattr(parameters, "secret_names", frozenset())
        self.receiver = getattr(parameters, "receiver", None)
        self.records: list[tuple[object, bytes]] = []
        self.lists: dict[tuple[Subscription, ...], HookList] = {}
        self.unowed = self.list_of(())

    def list_of(self, owed: tuple[Subscription, ...]) -> HookList:
        """Return what depends on the hooks that a transition is owed to."""
        listed = self.lists.get(owed)
        if listed is None:
            if len(self.lists) >= LISTS:
                self.lists.clear()
            workers = [each for each in owed if self.has_workers and each.hook.where == "worker"]
            hooks = [each for each in owed if each not in workers]
            columns = [[hook_columns(each.hook) for each in some] for some in (hooks, workers)]
            listed = self.lists[owed] = HookList(self, *columns)

        return listed


def make_plan(
    run: Run, sink: RecordSink, bus: EventBus, sets: HookSets | None, changes: int
) -> Plan:
    """Make the plan for the runs of a definition on a bus, with the sets of hooks that it has.

    `changes` is how often these have changed before. The hooks that they may owe are guarded.
    Without `sets` the runs are those of another owner.
    """
    if not sink.begun:
        sink.begin()
    definition = run.definition
    origin = definition.origin
    with sink.turns.free(), sink.turns:
        told: tuple[HookSet, ...] = ()
        subscriptions = bus.subscriptions
        if sets is not None:
            if sets.owner != sink.owner:
                # A forked child, for example, which has a guardian of its own.
                sets.begin(sink.owner, sink.guarding)
            told = (sets.of(origin), sets.of_bus(subscriptions))
        version = getattr(definition, "declared_version", None)
        facts = (
            run.run_type,
            printable(run.definition_name),
            printable(reference_of(definition).text),
            None if version is None else printable(str(version)),
            tuple(map(printable, run.tags)),
            *([each.id for each in told] or (None, None)),
            getattr(definition, "retries", None),
        )
        number = sink.numbers.of(facts)
        selected = [*origin.declared, *filter(_has_hook, subscriptions)]
        has_crash_hooks = any(map(_may_select_crashed, selected))
        is_timed = any(each.filter.lasting is not None for each in selected)
        plan = Plan(
            sink.owner,
            changes,
            number,
            run,
            has_crash_hooks=has_crash_hooks,
            is_timed=is_timed,
            has_workers=sink.has_workers,
        )
        plan.records.append((number, pack("D", [number, *facts])))
        plan.records += [(each.id, pack("H", [*each])) for each in told if each.id]
        if run.routes is not None:
            if len(run.routes.plans) >= PLANS:
                run.routes.plans.clear()
            run.routes.plans[run.tag_set] = plan

    return plan


def ordinals_of(run: Run, bus: EventBus, owed: Sequence[Subscription]) -> list[int]:
    """Return the ordinals of hooks that are owed a state because it has lasted.

    They count those hooks of a run that are owed such states, in the order of its sets of hooks.
    """
    selected = [*run.definition.origin.declared, *filter(_has_hook, bus.subscriptions)]
    timed = [each for each in selected if each.filter.lasting is not None]
    places: list[int] = []
    for each in owed:
        itself = (place for place, other in enumerate(timed) if other is each)
        # If hooks were declared meanwhile, it is another subscription by now.
        equal = (place for place, other in enumerate(timed) if other.hook == each.hook)
        free = (place for place in (*itself, *equal) if place not in places)
        # One that was cancelled meanwhile has none of these places.
        places.append(next(free, len(timed) + len(places)))

    return [LASTED + place for place in places]


def change_numbers(runs: Iterable[Run], sink: RecordSink, plan_of: Callable[[Run], Plan]) -> None:
    """Record which definitions stand for those that executing runs were recorded with."""
    changed: set[tuple[int, int]] = set()
    for run in runs:
        encoder = run.encoder
        if encoder is None or not (encoder.next or encoder.note):
            continue
        if encoder.owner is not sink.owner:
            # Its numbers are others: it is a parent's, or was taken over.
            continue
        plan = plan_of(run)
        if encoder.number != plan.number:
            plan.unowed.tell(sink.writer)
            changed.add((encoder.number, plan.number))
            encoder.number = plan.number
    for before, after in sorted(changed):
        sink.writer.append(pack("C", [before, after]))


def _has_hook(subscription: Subscription) -> bool:
    return subscription.hook is not None


def _may_select_crashed(subscription: Subscription) -> bool:
    """Return whether a hook may be owed the crash of a run; True if in doubt."""
    if subscription.filter.lasting is not None:
        # Nothing lasts after the end of a run.
        return False
    states = subscription.hook.state
    if states is None:
        return True
    selected = (states,) if isinstance(states, str) else states

    return not isinstance(selected, tuple) or not _CRASHED.isdisjoint(selected)
