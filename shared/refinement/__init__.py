"""List-wise refinement: the safe list of most utility among what the seats proposed (algorithms, section 6).

    majority list ─► all feasible lists (n ≤ 16), or a climb ─► the best one, and the edits that lead to it

After FLAME (arXiv 2505.20218), which builds a list drug by drug with interactions in the objective; here the
drugs come from an ensemble, support is its probability that a drug belongs, and hard screens hold whatever
the dials say. Pure and deterministic: the same problem gives the same bits in every process.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from shared.refinement.problem import Dials, Edit, Problem, Refined, Terms, check_dial
from shared.refinement.search import MOST, climb, exact
from shared.refinement.trace import in_words, trace
from shared.refinement.utility import Utility

__all__ = ["Dials", "Edit", "Problem", "Refined", "Terms", "check_dial", "in_words", "refine"]


def refine(
    problem: Problem,
    support: Mapping[str, float],
    majority: Collection[str],
    grades: Mapping[str, float],
    dials: Dials | None = None,
    *,
    unanimous: Collection[str] = (),
    instead: Sequence[Collection[str]] = (),
) -> Refined:
    """The best feasible list L* and its trace from the majority list L₀.

    `support`: P(belongs) in [0, 1] of every candidate. `grades`: of each drug the summed consensus grade of
    the seats that name it; it decides ties, absent is 0. `unanimous`: what all seats name, held while
    climbing. `instead`: lists that stand where the best one is empty, the first that is feasible and brings
    no interaction: it then has less utility than no drug at all.
    Raises ValueError for a support outside its range, KeyError where the majority is no candidate.
    """
    u = Utility(problem, support, dials or Dials())
    start = u.code(majority)
    small = len(problem.candidates) <= MOST
    best = exact(u, grades) if small else climb(u, grades, start, u.code(unanimous))
    if not best:
        harmless = (code for code in map(u.code, instead) if not u.bars(code) and not u.severity(code))
        best = next(harmless, 0)
    return Refined(
        drugs=u.drugs(best),
        method="exact" if small else "climbed",
        utility=u.terms(best),
        start=u.terms(start),
        edits=trace(u, start, best),
        feasible=not problem.candidates or problem.barred != set(problem.candidates),
    )
