"""The order in which one iteration updates W, V and H: schedules of Stratified-NMF, as of `Problem`."""


def mu_schedule(update_order="sequential", n_shift_updates=2):
    """Return the schedule v, W, H of Algorithm 1, or v and then W together with H, as in the published program."""
    pair = (("W", 1), ("H", 1))
    return (("V", n_shift_updates), pair) if update_order == "simultaneous" else (("V", n_shift_updates), *pair)


def hals_schedule(sweeps=(1, 1, 1), *, is_design=False):
    """Return the schedule W, v, H, v with the given numbers of sweeps; W, H, v for a design.

    `sweeps` holds the sweeps over W, the alternations of v and H, and the sweeps over H in each alternation;
    ``"thorough"`` is (3, 3, 1).

    W comes first because the default start has W = 0 and half the means as shifts. If v were updated first, it would
    take the whole means and leave little for the following W to explain. The last update of v needs no pass over the
    data. Without it the next W compensates for shifts that belong to the previous H (housing after 100 extrapolated
    iterations: loss 0.0088, with it 0.0029). With a design, whose v has no closed form, the update of v before H takes
    as long as that of H, and is left out: 20 newsgroups by group and year came to the loss of 20 iterations in 10.
    """
    sweeps = (3, 3, 1) if sweeps == "thorough" else sweeps
    of_W, alternations, of_H = sweeps
    if is_design:
        return (("W", of_W),) + (("H", of_H), ("V", 1)) * alternations
    return (("W", of_W),) + (("V", 1), ("H", of_H)) * alternations + (("V", 1),)
