"""The range of every number that comes from outside: from the command line, a suite, a file.

What is outside of its range is refused before anything is measured, and before anything is computed of it. The ranges
are wide: they keep out what no machine does, and what no arithmetic of a 64-bit float survives.

`mnist_core` has some of them once more, for its own callers. They are not taken from there: a worker of this program
may measure the `mnist_core` of an older commit, which has none.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

#: Images of a batch, of an epoch, of a data set: as many as a file of images may announce, `mnist_core.idx.MAX_COUNT`.
MOST_IMAGES: Final = 1_000_000
#: Epochs, or turns, of a run.
MOST_EPOCHS: Final = 1_000_000
#: Processes of a scenario; blocks, and rounds.
MOST_REPEATS: Final = 10_000
#: Runs that a suite may ask for: a million of them would take years, and a gigabyte to plan.
MOST_RUNS: Final = 250_000
#: Threads of a context.
MOST_THREADS: Final = 10_000
#: Processes that train together, their machines, and servers of one training.
MOST_RANKS: Final = 1000
#: Seconds that a user may give anything: 30 days. Timers of Python end after 49 on some systems.
MOST_GIVEN_SECONDS: Final = 30 * 86_400.0
#: No test that is made here can tell it from 0.
LEAST_PROBABILITY: Final = 1e-12
#: The seed of a measurement. Block b, or repeat r, trains with the seed + b.
MOST_SEED: Final = 2**31 - 1
#: NumPy takes seeds below 2^32.
_MOST_TRAINING_SEED: Final = 2**32 - 1
#: Every whole number up to here is a 64-bit float, which is all that other readers of JSON have.
_MOST_COUNT: Final = 2**53
#: A thousandth of what a clock can tell apart, and 30 years.
_LEAST_SECONDS, _MOST_SECONDS = 1e-12, 1e9

Count = Annotated[int, Meta(ge=0, le=_MOST_COUNT)]
PositiveCount = Annotated[int, Meta(ge=1, le=_MOST_COUNT)]
Images = Annotated[int, Meta(ge=1, le=MOST_IMAGES)]
Epochs = Annotated[int, Meta(ge=1, le=MOST_EPOCHS)]
Repeats = Annotated[int, Meta(ge=1, le=MOST_REPEATS)]
Ranks = Annotated[int, Meta(ge=1, le=MOST_RANKS)]
Servers = Annotated[int, Meta(ge=0, le=MOST_RANKS)]
#: The place of a machine in a hosts file.
HostPlace = Annotated[int, Meta(ge=0, lt=MOST_RANKS)]
Threads = Annotated[int, Meta(ge=1, le=MOST_THREADS)]
TrainingSeed = Annotated[int, Meta(ge=0, le=_MOST_TRAINING_SEED)]
Seconds = Annotated[float, Meta(ge=0, le=_MOST_SECONDS)]
PositiveSeconds = Annotated[float, Meta(ge=_LEAST_SECONDS, le=_MOST_SECONDS)]
#: A time limit.
GivenSeconds = Annotated[float, Meta(ge=_LEAST_SECONDS, le=MOST_GIVEN_SECONDS)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
PositiveFraction = Annotated[float, Meta(ge=LEAST_PROBABILITY, le=1)]
Probability = Annotated[float, Meta(ge=LEAST_PROBABILITY, lt=1)]
Watts = Annotated[float, Meta(ge=0, le=1e6)]
#: A relative difference (0.02 = 2 %), or how many times something is something else.
Ratio = Annotated[float, Meta(ge=0, le=1e9)]
#: A megawatt for 30 years.
Joules = Annotated[float, Meta(ge=0, le=1e15)]
#: A number above 0 or 0 that a 32-bit float can hold.
NonNegative = Annotated[float, Meta(ge=0, le=4e38)]
#: Of an hour of a machine, in any currency.
MOST_PRICE: Final = 1e9
Price = Annotated[float, Meta(ge=0, le=MOST_PRICE)]
#: Operations or bytes per second, and the like.
PositiveRate = Annotated[float, Meta(ge=1e-9, le=1e21)]
#: A number without a sign that a 32-bit float can hold.
Number = Annotated[float, Meta(ge=-4e38, le=4e38)]
