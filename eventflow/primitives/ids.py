"""Ids: UUIDs of version 7, which sort by the time they were made, and two-word names for them."""

from __future__ import annotations

from typing import Final
from uuid import UUID, SafeUUID

import uuid_utils

__all__ = [
    "delivery_id",
    "event_number",
    "id_of",
    "new_id",
    "new_number",
    "run_label",
    "two_words",
]

_new: Final = object.__new__
# UUID is immutable; the setters of its slots are not, and are faster than those of object.
_set_int: Final = vars(UUID)["int"].__set__
_set_is_safe: Final = vars(UUID)["is_safe"].__set__
_uuid7: Final = uuid_utils.uuid7
_unknown: Final = SafeUUID.unknown


def new_id() -> UUID:
    """Make an id, without the checks of UUID's own constructor, which cost three times as much."""
    made = _new(UUID)
    _set_int(made, _uuid7().int)
    _set_is_safe(made, _unknown)

    return made


def new_number() -> int:
    """Make an id as a number, for a UUID that may be needed later."""
    number: int = _uuid7().int

    return number


def id_of(number: int) -> UUID:
    """Return the id with this number."""
    made = _new(UUID)
    _set_int(made, number)
    _set_is_safe(made, _unknown)

    return made


def event_number(run: int, sequence: int) -> int:
    """Return the id, as a number, of a run's transition number `sequence`: always the same.

    It is the run's id with another value in those bits that tell the ids of a millisecond apart.
    """
    place = sequence + 1

    return run ^ (place & _PLACES) << 64 ^ (place >> 12) << 32


def delivery_id(run: int, sequence: int, ordinal: int) -> UUID:
    """Return the id of the delivery of a run's transition to the hook number `ordinal`.

    Version 8, which RFC 9562 leaves to the application: the id of the transition with another
    version, and a number added to the last 16 bits, so that people can tell the last digits apart.
    """
    number = event_number(run, sequence) & _NO_VERSION | _VERSION_8

    return id_of(number & _NOT_LAST | (number + (sequence + 1 << 8) + ordinal) & _LAST)


_PLACES: Final = 0xFFF
_NO_VERSION: Final = ~(0xF << 76)
_VERSION_8: Final = 8 << 76
_LAST: Final = 0xFFFF
_NOT_LAST: Final = ~_LAST


_ADJECTIVES = """
able agile amber ample azure bold brave brief bright brisk calm candid cheerful civil clear
clever cobalt copper coral cosmic crimson crisp curious daring deft earnest eager elegant fair
famous fearless fleet fond free fresh gentle glad golden good graceful grand great green happy
hardy honest humble indigo jade jolly keen kind lively loyal lucid lucky mellow merry mighty
mild modest neat nimble noble novel olive patient placid plucky polite proud prudent quick quiet
rapid ready regal robust rosy royal ruby rugged sage scarlet serene sharp shiny silent silver
smart snug solid sound spry stable steady stellar sturdy sunny swift tactful tidy topaz tranquil
trusty upbeat valiant vast velvet violet vivid warm wise witty young zealous zesty
""".split()  # noqa: SIM905 - one word a line is no gain

_ANIMALS = """
adder albatross alpaca antelope ape badger bass bat bear beaver bee bison boar bobcat buffalo
bullfinch camel caribou carp cat chamois cheetah civet cobra cod condor corgi cougar coyote crab
crane cricket crow deer dingo dolphin dove duck eagle eel egret elk emu falcon ferret finch fox
frog gazelle gecko gibbon giraffe goat goose gorilla grouse gull hare harrier hawk hedgehog heron
hippo hornet horse hound hyena ibex ibis iguana impala jackal jaguar jay kestrel kite kiwi koala
lark lemur leopard lion lizard llama lobster lynx macaw magpie mantis marmot marten mole mongoose
moose mule narwhal newt ocelot octopus okapi orca oriole oryx osprey otter owl ox panda panther
""".split()  # noqa: SIM905 - the same


def two_words(key: UUID) -> str:
    """Return two words for an id, always the same for the same id."""
    bits = key.int
    adjective = _ADJECTIVES[bits % len(_ADJECTIVES)]

    return f"{adjective}-{_ANIMALS[(bits >> 16) % len(_ANIMALS)]}"


def run_label(definition: str, run: str) -> str:
    """Return the name of a run, behind that of its definition unless it begins with that."""
    return run if run.startswith(f"{definition}-") else f"{definition}/{run}"
