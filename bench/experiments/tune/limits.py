"""How much a search measures, and how sure each of its decisions must be."""

from __future__ import annotations

import math
from typing import Final

#: First-round candidates per value of the knob with most values, so that each value of each knob is sampled about
#: equally often.
FIRST_PER_PLACE: Final = 6
#: Candidates of each later round: a few seconds, after which the model is fitted again.
BATCH: Final = 12
#: Candidates, and share of all candidates, that are measured before the model may eliminate any.
LEAST_SCREENED: Final = 48
LEAST_SCREENED_SHARE: Final = 1 / 8
#: An unmeasured candidate may still win while its prediction plus this many standard deviations reaches the fastest.
HOPE: Final = 3.0
#: Rates are cut off this far below the fastest: the model need not tell hopeless from worse, and an interrupted
#: measurement must not drag down all candidates that are like it.
HOPELESS: Final = math.log(4)
#: Shares of the budget after which the screening ends, and after which the heats end.
SCREENING_SHARE: Final = 0.4
SEARCH_SHARE: Final = 0.6
#: Seconds that a timed window lasts at least: in the screening, in a block.
SCREENING_SECONDS: Final = 0.05
BLOCK_SECONDS: Final = 0.1
#: Log ratio below which candidates are not told apart before the final: two processes differ by more.
INDIFFERENCE: Final = math.log(1.03)
#: Standard deviation of a single measurement before any was repeated, as a logarithm: 2.5 of them, for a difference of
#: two, make a factor of 1.5.
FIRST_DEVIATION: Final = 0.1
FIRST_LIMIT: Final = INDIFFERENCE + 2.5 * FIRST_DEVIATION * math.sqrt(2)
#: A candidate slower than predicted by more than this many standard deviations is measured again.
DOUBT: Final = 1.5
#: Lower bound of the standard deviation of a measurement: a few repetitions agree by chance.
LEAST_DEVIATION: Final = 0.01
#: Candidates in a block beside the reference: as many processes as fit into the memory of a small machine.
MOST_IN_BLOCK: Final = 7
#: One-sided significance level of each comparison with the fastest in a heat.
HEAT_ALPHA: Final = 0.005
#: Blocks of each candidate in heats.
MOST_HEATS: Final = 3
FINALISTS: Final = 6
#: Blocks after which a finalist may drop out, after which the final may end, and after which it does.
FIRST_LOOK: Final = 3
LEAST_BLOCKS: Final = 5
MOST_BLOCKS: Final = 16
#: The final has at least two blocks, even beyond its budget: one block has no interval.
FEWEST_BLOCKS: Final = 2
#: One-sided significance level of each comparison with the fastest in the final.
FINAL_ALPHA: Final = 0.01
#: Log ratio: when all remaining candidates are surely within this of the fastest, the choice does not matter.
CHOICE_FREE: Final = math.log(1.01)
CHOICE_FREE_ALPHA: Final = 0.025
#: Blocks of each candidate in an exhaustive search.
EXHAUSTIVE_PASSES: Final = 2
#: After the same epoch of the same images from the same weights two loops differ by rounding: by a few images.
ACCURACY_DIFFERENCE: Final = 0.02
#: A candidate that goes on learning gets no worse, but for chance: this many standard errors.
ACCURACY_ERRORS: Final = 4.0
