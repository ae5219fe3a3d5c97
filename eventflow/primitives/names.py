"""Two-word names for runs that were given none."""

from __future__ import annotations

from uuid import UUID

__all__ = ["two_words"]

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
    """Name a run after its id: the same id always gives the same two words."""
    bits = key.int
    adjective = _ADJECTIVES[bits % len(_ADJECTIVES)]

    return f"{adjective}-{_ANIMALS[(bits >> 16) % len(_ANIMALS)]}"
