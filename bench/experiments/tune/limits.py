"""How much a search measures, and how sure each of its decisions must be."""

from __future__ import annotations

import math
from typing import Final

#: Candidates of the first round, for each place of the knob that has the most of them: every place of every knob is met
#: about as often.
FIRST_PER_PLACE: Final = 6

#: Of every later one: a few seconds, after which the prediction is made anew.
BATCH: Final = 12

#: Until so many are measured, and such a share, the prediction is not believed of anyone.
LEAST_SCREENED: Final = 48

LEAST_SCREENED_SHARE: Final = 1 / 8

#: An unmeasured candidate may still win while its prediction plus so many standard deviations reaches the fastest.
HOPE: Final = 3.0

#: What is slower by this than the fastest is as bad as can be: a prediction need not tell hopeless from worse, and an
#: interrupted measurement must not drag down all that are like it.
HOPELESS: Final = math.log(4)

#: Shares of the budget at whose end the screening, and the heats, are over.
SCREENING_SHARE: Final = 0.4

SEARCH_SHARE: Final = 0.6

#: A timed window lasts at least this long: in a screening, in a heat, in a block.
SCREENING_SECONDS: Final = 0.05

HEAT_SECONDS: Final = 0.1

BLOCK_SECONDS: Final = 0.2

#: Faster by less than this is not worth telling apart before the final: one process differs from another by more.
INDIFFERENCE: Final = math.log(1.03)

#: Standard deviation of a single measurement before any was repeated, as a logarithm: 2.5 of them, for a difference of
#: two, make a factor of 1.5.
FIRST_DEVIATION: Final = 0.1

FIRST_LIMIT: Final = INDIFFERENCE + 2.5 * FIRST_DEVIATION * math.sqrt(2)

#: Slower than expected by more than so many standard deviations is not believed at once.
DOUBT: Final = 1.5

#: It is never believed to be smaller: a few repetitions agree by chance.
LEAST_DEVIATION: Final = 0.01

#: One-sided, of each comparison with the fastest in heats.
HEAT_ALPHA: Final = 0.005

MOST_HEATS: Final = 3

#: Candidates in a block beside the reference: as many processes as a small machine has memory for.
FINALISTS: Final = 6

#: Blocks after which a finalist may drop out, after which the final may end, and after which it does.
FIRST_LOOK: Final = 3

LEAST_BLOCKS: Final = 5

MOST_BLOCKS: Final = 16

#: Without a second block there is no interval, whatever the budget.
FEWEST_BLOCKS: Final = 2

#: One-sided, of each comparison with the fastest in the final.
FINAL_ALPHA: Final = 0.01

#: All that are left surely within this of the fastest: it does not matter which is taken.
WHICHEVER: Final = math.log(1.01)

WHICHEVER_ALPHA: Final = 0.025

#: Of an exhaustive search: blocks of so many candidates, and blocks for each candidate.
EXHAUSTIVE_BLOCK: Final = 7

EXHAUSTIVE_PASSES: Final = 2

#: After the same epoch of the same images from the same weights two loops differ by rounding: by a few images.
ACCURACY_DIFFERENCE: Final = 0.02

#: Whoever goes on learning gets no worse but for the chance of so many standard errors.
ACCURACY_ERRORS: Final = 4.0
