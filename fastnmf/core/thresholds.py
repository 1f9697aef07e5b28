"""Numerical thresholds: where a value counts as zero or as rounding, where digits are lost, and floors of divisors.

Each has one name for one meaning, and says why it has its value. Numbers that tune one algorithm (sweeps, shares, step
rules, the tolerance at which an iteration stops) stand in its file. Kernels hold their own, because a kernel file
imports nothing of ours.
"""

import numpy as np

_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)

# ---------------------------------------------------------------- divisors and floors

# Raises or joins a divisor that may be zero: its inverse, and that times 1e8, does not overflow.
LEAST_DIVISOR = 1e-300

# Least curvature that is tried above a user's penalty whose tangent does not lie above it: any positive number will do,
# as it is doubled until it is enough.
LEAST_CURVATURE = 1e-300

# Added to the denominator of a multiplicative update of the squared error, as is usual. It has the unit of the
# denominators: where these are below `ORDINARY_DENOMINATOR`, it is smaller in proportion.
MU_EPS = 1e-9
ORDINARY_DENOMINATOR = 1e-3  # MU_EPS is a millionth of it

# Added to the denominators of a layer, as a share of the largest of them, so that it has the scale of the data.
DENOMINATOR_SHARE = 1e-12

# A positive entry that a multiplicative update would push below this is held here, since it could not come back from
# zero; the square is a normal number, too.
MU_FLOOR = {_SINGLE: 1e-15, _DOUBLE: 1e-150}

# Squared lengths between this and its inverse have neither lost digits to underflow nor overflowed.
SAFE_SQUARE = 1e-280

# Model values are raised to this before a negative power is applied: machine epsilon of float32, as in scikit-learn; of
# small data, to this share of the mean of the non-zeros (see `model_floor`).
MODEL_FLOOR = 1.1920929e-07
_SMALL_MEAN = 1 / 64  # mean below which data are small: MODEL_FLOOR is a hundred-thousandth of it

# The same as a share of the mean of the non-zeros, for losses of the user; rounded up.
MODEL_SHARE = 1.2e-7

# Model values by which a label is divided are raised to this: it is below the rounding of a label, which is 1.
LABEL_FLOOR = 1e-16

# Ridge of the least squares of the labels, as a share of the trace: it decides only where topics are dependent.
LABEL_RIDGE = 1e-12

# Least e_b as a share of the divergence of the trivial model: an exact fit would give zero, by which is divided.
LEAST_REFERENCE = 1e-10

# The slope of a Newton step is raised to this; such a flat step leaves its bracket, and is then replaced by bisection.
LEAST_SLOPE = 1e-12

# Exponents of two up to here are those of normal numbers of float64, with room for a sum: units of degree two of data
# of extreme scale go beyond.
MOST_BITS = 1000

# ---------------------------------------------------------------- digits that cancel

# Share of the squares that cancel, below which a squared error from products is computed from the residual itself: in
# float64 it has about ten digits there.
EXPANSION_FLOOR = 1e-6
EXACT_VALUE_BELOW = {_SINGLE: 1e-3, _DOUBLE: EXPANSION_FLOOR}  # of whole objectives, whose products have these dtypes

# Share of the sums whose difference is a trivial divergence, below which that is rounding: 45 epsilons.
TRIVIAL_DIVERGENCE = 1e-14

# Share of the squared norm of a model below which its part off the data, a difference, is rounding of long sums.
ROUNDED_OVERSHOOT = 1e-12

# Singular values below this share of the largest are rounding where they are roots of eigenvalues: a few times the root
# of epsilon.
GRAM_CUT = 1e-7

# Singular values of a full decomposition below this share of the largest count as zero.
RANK_CUT = 1e-10

# Share of the values of a user's penalty below which a difference between two of them is rounding.
PENALTY_ROUNDING = 1e-13

# ---------------------------------------------------------------- values that count as zero or as equal

# Entries of singular vectors below this share of the largest: their sign is noise, so they become zero.
NOISE_CUT = 1e-6

# Least eigenvalue of the cosines of columns below which these are dependent, up to the rounding of float32.
NEARLY_SINGULAR = 1e-6

# Rise of the objective of a row, as a share of its linear part, that is rounding of float64.
ROUNDED_RISE = 1e-12

# Length of a column of a layer, as a share of the longest, below which it is left of data of lower rank.
SHORT_COLUMN = 1e-6

# Squared distance from a span, as a share of the largest squared length, below which a row of a symmetric operator lies
# in it. It is 1e-5 in length, more than products in float32 round off.
IN_SPAN = 1e-10

# Relative difference of squared lengths below which two rows count as equally far: sums of dense and sparse rows
# round differently.
EQUAL_LENGTHS = 1e-9

# Relative difference of the squared errors of a row, in squares of the row, below which they count as equal.
EQUAL_ERRORS = 1e-13

# Relative difference below which the ratio of two norms counts as reached; it is missed only where the top is tied.
EQUAL_RATIOS = 1e-6

# Step of a Newton iteration in the logarithm of a factor, below which it ends: some thousand epsilons.
LEAST_STEP = 1e-12

# Relative change of a shift in a step below which its stratum has converged: half of the digits, since the error is
# flat at its minimum.
SHIFT_CHANGE = 1e-8

# Least squared residual that is worth reseeding a dead component, as a share of the squared norm of the data.
REVIVAL_GAIN = 1e-6

# Rows of a stratum below which its sums no longer decay: they keep its shift and hardly affect H.
LEAST_ROWS = 1e-12

# Difference of a matrix and its transpose, in units of the largest entry, above which it is more than rounding.
ASYMMETRY = 1e-6


def tiny(dtype=np.float64):
    """Return the least positive normal number, to which a sum that may be zero is raised before it divides."""
    return np.finfo(dtype).tiny


def huge(dtype=np.float64):
    """Return the largest number, which takes the place of an infinity that is to be multiplied by zero."""
    return np.finfo(dtype).max


# Exponent of two up to which numbers are ordinary: routines of others, whose tolerances are absolute, take them as they
# are, so that their iterates keep their bits.
_ORDINARY = 10


def model_floor(mean):
    """Return the least model value of data whose non-zeros have this mean, or of rows with these: float64, an array."""
    mean = np.atleast_1d(np.asarray(mean, dtype=np.float64))
    return MODEL_FLOOR * np.where((mean < _SMALL_MEAN) & (mean > 0), mean, 1.0)


def unit_of(values):
    """Return the power of two of the largest of the values, or 1 where that is ordinary: what others' routines need."""
    largest = max(float(values.max(initial=0.0)), -float(values.min(initial=0.0)))
    exponent = int(np.frexp(largest)[1])
    return 2.0**exponent if abs(exponent) > _ORDINARY else 1.0


def rounding(dtype):
    """Return the relative error that a few operations leave, 8 epsilons; of squared errors it is the square."""
    eps = np.finfo(dtype).eps
    return eps * type(eps)(8)  # NumPy 1 makes a float64 of an int and a float32


def span_floor(dtype):
    """Return the share of the largest squared length below which a row lies in a span: 16 epsilons of the data."""
    return 16 * float(np.finfo(dtype).eps)
