"""The rounds of a fit in chunks with components of single strata: the driver holds H, the shifts and these components.

The weights of own components are columns of W, which stay with the chunks; their sums come with the shares. See
`fastnmf.core.rounds` and, for the chunks, `fastnmf.core.own_chunks`.

Inner scale: the data are held multiplied by ``4 ** log4_scale``, W, H and the parts of own components by
``2 ** log4_scale``, shifts by ``4 ** log4_scale``.
"""

import copy
import math
from functools import partial

import numpy as np
import scipy.sparse as sp

from fastnmf.core import chunks, own_chunks
from fastnmf.core.alternate import sweep
from fastnmf.core.chunks import GivenStart, RandomStart
from fastnmf.core.factors import dense_rows
from fastnmf.core.init.own import OwnWeights
from fastnmf.core.iterate import iterate
from fastnmf.core.losses.own import OwnFrobenius
from fastnmf.core.losses.own_blocks import TiedFrobenius
from fastnmf.core.losses.own_divergence import OwnKullbackLeibler
from fastnmf.core.own import gathered_weights
from fastnmf.core.own_revival import reseed_dead_components
from fastnmf.core.rounds import ChunkedFactors, ChunkedSolver, ChunkUpdate, RatioSolver, Rounds
from fastnmf.core.shares import Order
from fastnmf.core.thresholds import model_floor
from fastnmf.kernels.records import LazyRows

NO_ROWS = np.empty(0, np.int32)
RATIOS = ("ratio", "H"), ("W", "H", "G")  # key of the pass over columns, and what it depends on
ROWS_AT_A_TIME = 1 << 18  # of the weights that become sparse


class OwnRounds(Rounds):
    """As `Rounds`, for chunks whose W has weights of own components.

    Parameters
    ----------
    engine : LocalEngine
    rank : int
        Number of shared components.
    terms : fastnmf.core.own_chunks.OwnTerms
    """

    def __init__(self, engine, rank, terms):
        super().__init__(engine, rank, False)
        self.terms, data, w = terms, engine.data, terms.n_own
        moments = (1 + w, engine.width) if terms.is_squared else (w,)
        self.share.moments = np.zeros((data.n_strata, *moments))
        self.share.entries = np.zeros((len(data.pattern.group), w + (not terms.is_squared)))

    def run(self, step, *given, reads=True, **content):
        """As `Rounds.run`; the order says that there are own components."""
        return super().run(step, *given, reads=reads, own=self.terms, **content)

    def order(self, factors):
        """Return the order of a question to the chunks."""
        return Order(self.rank, own=self.terms, H=factors["H"], G=factors["G"])

    def scale(self, scale):
        """As `Rounds.scale`."""
        super().scale(scale)
        share, of_own = self.share, scale[self.terms.columns]
        if self.terms.is_squared:
            share.moments = share.moments * np.concatenate([[1.0], of_own])[:, None] * scale
            share.entries = None if share.entries is None else share.entries * of_own
        else:
            share.moments = share.moments * of_own


class OwnFactors(ChunkedFactors):
    """As `ChunkedFactors`, with the sums that the losses of own components look for in the cache."""

    def invalidate(self, name):
        """Note that factor `name` has changed; of W, take the sums that the chunks have sent."""
        super().invalidate(name)
        if name != "W":
            return
        rounds = self.rounds
        share, data = rounds.share, rounds.engine.data
        if not rounds.terms.is_squared:
            sums = np.concatenate([data.shift_totals()[:, None], share.moments], axis=1)
            self.cache_put("row sums", ("W",), sums)
            if share.entries is not None:
                self.cache_put(*RATIOS, (share.product.astype(data.dtype, copy=False), share.entries))
            return
        self.cache_put("row moments", ("W",), share.moments)
        if share.entries is not None:
            product = np.empty((len(share.entries), 1 + rounds.terms.n_own), data.dtype)
            product[:, 0], product[:, 1:] = data.pattern.sums, share.entries
            self.cache_put("entry product", ("W",), product)


class RowsInChunks:
    """Mixin of losses of own components whose rows are in chunks; precedes the loss."""

    def _index_rows(self):
        """Find nothing: there are no rows here."""

    def contribute(self, name, factors, sub):
        """Add the half-gradient of H or G, and what the chunks need for that of W."""
        if name != "W":
            super().contribute(name, factors, sub)
            return
        grams, below = self.row_grams(factors)
        sub.add(gram=grams, neg=LazyRows.of(below.astype(self.strata.dtype), NO_ROWS))

    def exact_value(self, factors):
        """Return the squared error from the residual itself, one chunk after the other."""
        rounds = factors.rounds
        return math.fsum(rounds.ask(own_chunks.exact_value_of_chunk, rounds.order(factors)))

    def row_of(self, factors, row):
        """As `OwnFrobenius.row_of`."""
        rounds = factors.rounds
        return dense_rows(self.strata.take(np.array([row])), [0])[0], rounds.present(rounds.engine.row, row)

    def multiply_weights(self, factors, keep):
        """As `OwnFrobenius.multiply_weights`."""
        factors.rounds.run(own_chunks.cleared, keep, reads=False)
        factors.invalidate("W")


class ChunkedOwnFrobenius(RowsInChunks, OwnFrobenius):
    """`OwnFrobenius` of rows in chunks, from the sums that they have sent."""


class ChunkedTiedFrobenius(RowsInChunks, TiedFrobenius):
    """`TiedFrobenius` of rows in chunks, from the sums that they have sent."""


class ChunkedOwnKullbackLeibler(OwnKullbackLeibler):
    """`OwnKullbackLeibler` of rows in chunks, from the sums that they have sent.

    Parameters
    ----------
    data : ChunkedStrata
    width, tasks, sizes, offset, penalty, shifts :
        As for `OwnKullbackLeibler`.
    """

    def __init__(self, data, width, tasks, sizes, offset, penalty, shifts=True):
        self.strata, self.tasks, self.has_shifts = data, tasks, False
        self.pattern, self.groups, self.offset, self.penalty = data.pattern, data.groups, offset, penalty
        self.is_common, self.moves_shifts = shifts == "common", shifts is not False
        self.total = data.summary.total
        self.floor = model_floor(self.total / max(data.n_entries, 1))
        self._groups = {"H": np.zeros(data.shape[1], np.int32)}
        self.of_rows, self.sizes, self.n_own = data.shift_totals().astype(np.float64), sizes, int(sizes.max())
        self.of_entries = self.pattern.by_group

    def independence(self):
        """As `KullbackLeibler.independence`."""
        return self.strata.independence()

    def contribute(self, name, factors, sub):
        """Add ``pos`` and ``neg`` of H or G; the chunks add those of W."""
        if name == "W":
            sub.is_quadratic = False
        else:
            super().contribute(name, factors, sub)

    def ratio_pass(self, name, factors):
        """Return ``pos`` of H, or None for name W, and the sum of the logarithms at the W before, of the last round.

        The last round has ``pos`` of H and G at this point, as it updated W; where it did not, there is another.
        """
        if name == "W":
            return None, factors.rounds.share.value, None

        def compute():
            points = {"H": factors["H"].copy(), "G": factors["G"].copy()}
            share = factors.rounds.run(own_chunks.rated_as_is, floor=self.floor, **points)
            return share.product.astype(self.strata.dtype, copy=False), share.entries

        product, self._entries = factors.cached(*RATIOS, compute)
        return product, 0.0, None

    def ratio_sums(self):
        """Return ``z(i)ᵀ [u U(i)]`` on the pattern, of the last pass over columns, float64 (q, 1 + w)."""
        return self._entries


KINDS = ChunkedOwnFrobenius, ChunkedTiedFrobenius, ChunkedOwnKullbackLeibler  # as the problems of own components ask


class OwnUpdate(ChunkUpdate):
    """The update of W for the squared error: a round over all chunks, which takes the own components, too."""

    def __call__(self, F, sub, rank, n_sweeps):
        """Update W.

        Parameters
        ----------
        F : ndarray (0, K)
        sub : Subproblem
            It gives the Gram matrices of the components of each stratum, and their products with the shift.
        rank, n_sweeps : int
        """
        factors, extrapolation = self.factors, self.extrapolation
        factors.rounds.run(
            chunks.descended,
            H=factors["H"],
            G=factors["G"],
            gram=sub.gram,
            below=sub.neg.rows,
            update=self.update,
            n_sweeps=n_sweeps,
            beta=extrapolation.beta if extrapolation is not None and extrapolation.is_on else None,
        )
        factors.rounds.is_zero = False


class OwnRatioUpdate(ChunkUpdate):
    """The update of W for Kullback-Leibler before the loop of a fit begins: a round over all chunks."""

    def __call__(self, F, sub, rank, n_sweeps):
        """Update W once.

        Parameters
        ----------
        F, sub, rank, n_sweeps :
            Not used: the chunks have their own.
        """
        factors, loss = self.factors, self.extrapolation
        points = {"H": factors["H"].copy(), "G": factors["G"].copy()}
        factors.rounds.run(chunks.rated, update=self.update, floor=loss.floor, **points)
        factors.rounds.is_zero = False


class OwnRatioSolver(RatioSolver):
    """As `RatioSolver`, with own components and their penalty."""

    def _round(self, step, **content):
        """Return the divergence at the present point, which a step over all chunks has found."""
        factors, loss = self.factors, self.problem.losses[0]
        points = {"H": factors["H"].copy(), "G": factors["G"].copy()}
        factors.rounds.run(step, floor=loss.floor, **points, **content)
        return max(loss.value(factors), 0.0)


class ChunkedWeights(OwnWeights):
    """As `OwnWeights`, of rows that are in chunks.

    Parameters
    ----------
    problem, factors, extrapolation :
        As for `OwnWeights`; the problem updates W by the update of rows.
    """

    @property
    def rounds(self):
        """The rounds of the fit."""
        return self.factors.rounds

    def _run(self, step, *given, **content):
        self.rounds.run(step, *given, **content)
        self.rounds.is_zero = False
        self.factors.invalidate("W")

    def draw(self, rng, *, size=1.0, low=0.0, has_scale=False):
        """Set the weights as `OwnWeights.draw` does; the generator is not advanced.

        Parameters
        ----------
        rng, size, low, has_scale :
            As for `OwnWeights.draw`.
        """
        self._run(own_chunks.replaced, own_chunks.OwnDraws(RandomStart(rng), size, low, has_scale))

    def put(self, U):
        """As `OwnWeights.put`."""
        self._run(own_chunks.replaced, GivenStart(U))

    def take(self, stratum_of, engine):
        """Take the weights of a fit without strata from its engine: the shared ones, and those of each stratum."""
        terms, shared = self.rounds.terms, np.flatnonzero(stratum_of < 0)
        places = np.full((len(terms.sizes), self.rounds.engine.width), -1)
        places[:, : len(shared)] = shared
        for code in range(len(places)):
            own = np.flatnonzero(stratum_of == code)
            places[code, terms.offset : terms.offset + len(own)] = own
        self.rounds.engine.adopt(engine)
        self._run(own_chunks.divided, places)

    def solve(self, data, H, V, parts):
        """Replace all weights by the exact ones.

        Parameters
        ----------
        data, H, V, parts :
            As for `OwnWeights.solve`.
        """
        self._run(own_chunks.finished, np.ascontiguousarray(H), V, parts)

    def columns(self):
        """As `OwnWeights.columns`."""
        return self.rounds.columns()

    def found(self, data):
        """As `OwnWeights.found`."""
        rounds, terms = self.rounds, self.rounds.terms
        W = rounds.present(rounds.engine.gathered, self.factors.rank)
        if not terms.offset:
            return W, None
        wide, parts = rounds.present(rounds.engine.gathered, terms.columns.stop), []
        for lo in range(0, len(wide), ROWS_AT_A_TIME):
            part = slice(lo, lo + ROWS_AT_A_TIME)
            parts.append(gathered_weights(wide[part, terms.columns], terms.sizes, data.stratum_index[part]))
        return W, sp.csr_array(sp.vstack(parts, format="csr"))

    def updating(self, update):
        """As `OwnWeights.updating`."""
        if self.rounds.terms.is_squared:
            return OwnUpdate(self.factors, update, None)
        return OwnRatioUpdate(self.factors, update, self.problem.losses[0])

    def iterate(self, max_iter):
        """As `OwnWeights.iterate`."""
        iterate(solver_of(self.problem, self.factors, self.extrapolation), max_iter=max_iter, tol=0.0)
        go_back(self.factors)

    def sweep(self, n_sweeps):
        """As `OwnWeights.sweep`."""
        of_rows = self.problem.updates["W"]
        self.problem.updates["W"] = self.updating(of_rows)
        for _ in range(n_sweeps):
            sweep(self.problem, self.factors)
        self.problem.updates["W"] = of_rows


def go_back(factors):
    """Make the present weights those of the chunks, where these have updated them for the next iteration already."""
    rounds = factors.rounds
    if rounds.is_ahead:
        rounds.run(chunks.gone_back, reads=False)
        rounds.is_ahead = False
        factors.invalidate("W")
    rounds.flush()


def worst_rows(loss, factors):
    """Return what `fastnmf.core.own_revival.worst_rows` does, from all chunks."""
    rounds, found = factors.rounds, {}
    for of_chunk in rounds.ask(own_chunks.worst_of_chunk, rounds.order(factors)):
        for code, worst in of_chunk.items():
            each = [*found.get(code, ()), *worst]
            found[code] = sorted(each, key=lambda one: (-one[0], one[1]))[:2]
    return found


def solver_of(problem, factors, extrapolation=None, level=None):
    """Return the solver of a problem of data in chunks with own components.

    Parameters
    ----------
    problem : Problem
        It updates W by the update of rows, and is not changed.
    factors : OwnFactors
    extrapolation, level :
        As for `fastnmf.core.alternate.AlternatingSolver`.
    """
    problem = copy.copy(problem)
    if not factors.rounds.terms.is_squared:
        return OwnRatioSolver(problem, factors, level, extrapolation)
    update = OwnUpdate(factors, problem.updates["W"], extrapolation)
    problem.updates = problem.updates | {"W": update}
    if problem.reseed_dead_component is not None:
        problem.reseed_dead_component = partial(reseed_dead_components, problem.losses[0], worst_of=worst_rows)
    return ChunkedSolver(problem, factors, extrapolation, None, level)
