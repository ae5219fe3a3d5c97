"""The recorder: the journal's place on a bus, which writes a transition before it is published.

A transition is left to a later record of its run if no listener and no hook receives it, and no
hook is lost with it if the process dies: most runs have one record, written at their end. Runs that
have not ended by then are recorded before each commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from logging import LogRecord
from typing import Any, Final

from eventflow.context import current_hook, reloading
from eventflow.errors import JournalError
from eventflow.eventbus.bus import EventBus
from eventflow.eventbus.subscriptions import Subscription
from eventflow.eventbus.watchers import watch_hooks
from eventflow.events import Event
from eventflow.hooks.sets import HookSets
from eventflow.interrupts.scopes import active_runs, inherited_runs
from eventflow.journal.contract import Journal
from eventflow.journal.deliveries import DeliveryLedger
from eventflow.journal.encoder import RunEncoder
from eventflow.journal.plans import Plan, change_numbers, make_plan, ordinals_of
from eventflow.journal.sink import RecordSink, log_failure
from eventflow.journal.wal.log_lines import LogLines
from eventflow.journal.wal.own_events import OwnEvents
from eventflow.runs.lazy_states import LazyState
from eventflow.runs.run import Run, Transition
from eventflow.states.kinds import RUNNING
from eventflow.values.recording import record_parameters

__all__ = ["Recorder"]

ENDED: Final = 2
"""The sequence with which most runs end; their beginning is recorded with that."""


class Recorder(DeliveryLedger):
    """Records the transitions on one bus, and the outcomes of their hooks.

    If something cannot be recorded, that is logged, and no run fails.
    """

    def __init__(self, sink: RecordSink, bus: EventBus) -> None:
        super().__init__(sink)
        self._bus = bus
        self._sets: HookSets | None = HookSets(bus)
        # The runs that executed at the last commit, and of which nothing was left to the next.
        self._seen: set[int] = set()
        self._changes = 0
        self._own_events = OwnEvents()
        self._log_lines = LogLines()
        sink.register(self)
        watch_hooks(self)

    def continue_runs(self) -> None:
        """Go on with the runs of other owners: what hooks they are subject to is recorded."""
        self._sets = None

    @property
    def journal(self) -> Journal:
        """The journal that is written to."""
        return self.sink.journal

    @property
    def owner_id(self) -> str:
        """The owner in whose name it is written."""
        return self.sink.owner

    # -- transitions ------------------------------------------------------------------------

    def record(  # noqa: C901 - for each transition: no call that can be avoided
        self, fact: Transition, owed: tuple[Subscription, ...], *, observed: bool
    ) -> bool:
        """Write a transition; return True if `wait` has to be called before it is published.

        Without hooks and listeners these are left to a later record: the first transition of a run,
        unless it may wait and a hook selects its crash, and the beginning of a task run if no hook
        selects its crash.
        """
        run, sink = fact.run, self.sink
        if inherited_runs and run.number in inherited_runs:
            # The parent records it.
            return False
        fact.journal = self
        try:
            plan = run.routes.plans.get(run.tag_set)
            if plan is None or plan.owner is not sink.owner:
                plan = self._plan(run)
            writer = sink.writer
            if fact.sequence < ENDED and run.encoder is None:
                is_left = not (owed or observed)
                if fact.sequence == 0:
                    if is_left and not (run.may_wait and plan.has_crash_hooks):
                        # From now on it is recorded before a commit.
                        run.recorder = self
                        if not writer.notified:
                            writer.notify()
                        return False
                elif fact.entered.type is RUNNING and self._begin(
                    run, fact, plan, is_left=is_left and plan.is_quiet
                ):
                    if not writer.notified:
                        # A commit has just left it out.
                        writer.notify()
                    return False
            is_first = self._write(run, fact.sequence, fact.entered, plan, owed)
            writer = sink.writer  # perhaps that of another owner by now
            if not writer.notified:
                writer.notify()
        except Exception as error:  # noqa: BLE001 - the journal never fails a run
            fact.journal = None
            log_failure("A transition", error)
            return False

        if not owed and not (is_first and plan.has_crash_hooks):
            return False

        return (writer.unsafe or writer.durable != "appended") and writer.waits

    def _begin(self, run: Run, fact: Transition, plan: Plan, *, is_left: bool) -> bool:
        """Record the parameters before the body can change them; the run is written later.

        Unless the transition `is_left` to a commit, it is written next, by this thread only.
        Returns whether it is left.
        """
        encoder = RunEncoder()
        encoder.is_left = is_left
        encoder.owner = plan.owner
        recorded = record_parameters(run.parameters, plan.secrets, plan.receiver)
        encoder.parameters = recorded or "null"
        previous, parent, above = fact.previous, run.parent_run_id, run.flow_run_id
        if type(previous) is LazyState and previous is run.created_at:
            encoder.created = previous.at // 1000
            root = run.root_flow_run_id
            encoder.is_usual = (
                above is parent is root
                if run.run_type == "task"
                else above is run.id and root is (parent or above)
            )
        turns = self.sink.turns
        if turns.taken:
            turns.wait()
        with turns.lock:
            if run.encoder is not None:
                return False
            run.encoder, run.recorder = encoder, self
            if not (is_left and plan.is_timed):
                return is_left
            turns.taken = True
            try:
                # Others may have to tell that it lasts, before anything else is done here.
                note = encoder.begin(run, fact.entered, plan.number)
                is_present = plan.owner is self.sink.owner and plan.changes == self._changes
                if note is not None and is_present:
                    encoder.note = self.sink.writer.note(note, plan.unowed.told_in)
            finally:
                turns.taken = False

        return encoder.note is not None

    def _write(  # noqa: C901, PLR0915 - the same
        self,
        run: Run,
        last: int,
        entered: LazyState,
        plan: Plan,
        owed: tuple[Subscription, ...] = (),
    ) -> bool:
        """Write a run's transitions up to the last; return whether they are its first ones."""
        sink, turns = self.sink, self.sink.turns
        if turns.taken:
            turns.wait()
        with turns.lock:
            turns.taken = True
            try:
                encoder = run.encoder
                if encoder is None or encoder.owner is not sink.owner:
                    encoder = self._own_encoder(run)
                if encoder is None or last < encoder.next:
                    return False
                first = encoder.next
                if plan.owner is not sink.owner or plan.changes != self._changes:
                    plan = self._plan(run)
                if encoder.owed:
                    self.leave(run, encoder)
                writer = sink.writer
                encoder.number = plan.number
                listed = plan.lists.get(owed) or plan.list_of(owed)
                record = encoder.encode(run, last, entered, listed)
                present = writer.segment
                if present is None or listed.told_in is not present.told:
                    listed.tell(writer)
                try:
                    segment, encoder.offset = writer.append(
                        record, owed=bool(listed.hooks), over=encoder.note
                    )
                except BaseException:
                    # Perhaps it is not there: the next record tells of these transitions as well.
                    encoder.take_back(first)
                    raise
                encoder.segment, run.recorder, encoder.owed_to = segment, self, owed
                if listed.told_in is not segment.told:
                    # It is the first record of another segment.
                    listed.tell(writer)
                if listed.more:
                    self.owe(run, last, listed.more)
                if run.ended_at is None:
                    writer.unfinished.add(run.number)
                elif first:
                    writer.unfinished.discard(run.number)
            finally:
                turns.taken = False

        return not first

    def _own_encoder(self, run: Run) -> RunEncoder | None:
        """Return the encoder of a run in the name of this owner; None if others have the run."""
        encoder: RunEncoder | None = run.encoder
        if encoder is None:
            encoder = run.encoder = RunEncoder()
        elif encoder.next:
            return None
        # Nothing of it was written in the name of another owner.
        encoder.owner = self.sink.owner

        return encoder

    def record_open_runs(self) -> None:
        """Write what no record holds yet: the transitions of open runs, and users' own events."""
        self._record_own_events()
        present = set(active_runs)
        for number in sorted(present - self._seen):
            run: Any = active_runs.get(number)
            if run is None or run.recorder is not self:
                present.discard(number)
            elif not (inherited_runs and number in inherited_runs):
                try:
                    if not self._record_open(run):
                        present.discard(number)
                except Exception as error:  # noqa: BLE001 - the others still have to be recorded
                    log_failure("A transition", error)
        self._seen = present

    def _record_open(self, run: Run) -> bool:
        """Write what `record` has left to later; return False if the run is entering a state.

        Then its own thread records it, or leaves it to the next commit.
        """
        with self.sink.turns.free(), self.sink.turns:
            encoder, entered = run.encoder, run.entered
            if run.ended_at is not None or (encoder is not None and encoder.next):
                return True
            if encoder is not None and not encoder.is_left:
                return False
            left = 0 if encoder is None else 1
            if entered is None or entered.sequence != left or run.transitions != left + 1:
                return False
            plan = None if run.routes is None else run.routes.plans.get(run.tag_set)
            self._write(run, left, entered, plan or self._plan(run))

        return True

    def owe_lasted(
        self, fact: Transition, owed: Sequence[Subscription]
    ) -> list[tuple[Subscription, int]]:
        """Record which hooks are owed a state because it has lasted, and the run if need be."""
        run = fact.run
        hooks = [*zip(owed, ordinals_of(run, self._bus, owed), strict=True)]
        try:
            with self.sink.turns.free(), self.sink.turns:
                if self.has_given_up(run):
                    return []
                self._record_open(run)
                hooks = [each for each in hooks if self.claim(run, fact.sequence, *each)]
            self.sink.writer.notify()
        except Exception as error:  # noqa: BLE001 - the journal never fails a run
            log_failure("A state that has lasted", error)

        return hooks

    def _plan(self, run: Run) -> Plan:
        return make_plan(run, self.sink, self._bus, self._sets, self._changes)

    def wait(self) -> None:
        """Return when all that was recorded is durable, or cannot be written now."""
        writer = None
        # Another owner may have recorded it once more meanwhile.
        while writer is not self.sink.writer:
            writer = self.sink.writer
            writer.wait()

    def continue_from(self, owner: str) -> None:
        """Record anew the open runs of an owner that others took for dead, unless they have them.

        What the journal has, others have taken over. They know of nothing else: its hooks run here.
        """
        runs: list[Any] = list(active_runs.values())
        for run in runs:
            encoder = run.encoder
            if run.recorder is not self or encoder is None or encoder.owner != owner:
                continue
            if encoder.note and not encoder.next and not self._is_unknown(run):
                # Its guardian has recorded what is noted.
                encoder.next = ENDED
            if encoder.next and not encoder.adopted and run.number not in inherited_runs:
                try:
                    if self._is_unknown(run):
                        self._record_anew(run, encoder)
                except Exception as error:  # noqa: BLE001 - the others still have to be recorded
                    log_failure("A transition", error)

    def _record_anew(self, run: Run, before: RunEncoder) -> None:
        encoder = run.encoder = RunEncoder()
        entered = run.entered
        if entered is None or entered.sequence != before.sequence:
            # It is just being recorded, with all that came before.
            return
        writer = self.sink.writer
        # A delivery that is done stays so, whatever is recorded of it later.
        for record in before.settled.values():
            writer.append(record)
        self._write(run, before.sequence, entered, self._plan(run), before.owed_to)
        # Not before the run has its new encoder: from then on no outcome is noted in the old one.
        encoder.begun, encoder.done, encoder.updated = before.begun, before.done, before.updated
        encoder.settled = before.settled
        if encoder.owed:
            self._append_progress(run, encoder)

    def _is_unknown(self, run: Run) -> bool:
        """Return whether the journal has no such run.

        True if it cannot be read: rather may a hook run twice than not at all.
        """
        try:
            return self.journal.run(run.id) is None
        except JournalError:
            return True

    def record_event(self, event: Event) -> None:
        """Write an event of the user's own at the next commit, once there is a run."""
        if reloading and current_hook.get() is None:
            # A recovery loads the file again that published it before.
            return
        self._own_events.append(event)
        sink = self.sink
        if sink.begun and not sink.writer.notified:
            sink.writer.notify()

    def _record_own_events(self) -> None:
        for record in self._own_events.encoded():
            with self.sink.turns.free(), self.sink.turns:
                self.sink.writer.append(record)

    def record_log(self, run: Run | None, number: int, record: LogRecord) -> None:
        """Write a line that was logged in a run, once it is recorded; so does a forked child."""
        sink, lines = self.sink, self._log_lines
        if not lines.keeps(record):
            return
        texts = lines.texts_of(run, record)
        if number in inherited_runs:
            sink.begin()
        elif not (sink.begun and (run is None or self._is_recordable(run))):
            return
        lines.append(sink.turns, lambda: sink.writer, number, texts)

    def _is_recordable(self, run: Run) -> bool:
        """Have a run recorded; return False if it executes here, and could not be."""
        if run.recorder is self:
            self._record_open(run)

        return run.recorder is not None or run.entered is None or run.number not in active_runs

    def flush(self) -> bool:
        """Commit all that was recorded; return False if that failed."""
        return self.sink.flush()

    # -- what runs share --------------------------------------------------------------------

    def hooks_changed(self, definition: Any) -> None:
        """Record, for the runs that execute, hooks that were declared or cancelled meanwhile."""
        with self.sink.turns.free(), self.sink.turns:
            self._changes += 1
        sets = self._sets
        if sets is None or not sets.owner or sets.owner != self.sink.owner:
            return
        try:
            with self.sink.turns.free(), self.sink.turns:
                if not sets.refresh(definition):
                    return
                runs: list[Any] = list(active_runs.values())
                mine = [run for run in runs if run.recorder is self]
                change_numbers(mine, self.sink, self._plan)
            self.sink.writer.notify()
        except Exception as error:  # noqa: BLE001 - the journal never fails a run
            log_failure("A change of hooks", error)
