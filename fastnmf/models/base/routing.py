"""Short help of the methods of metadata routing, `set_fit_request` and its like.

scikit-learn generates one for each method that takes more than X and y, with 30 to 60 lines of help in every class.
They keep their function; `help` of a model shows its own methods instead.
"""

import copy
import functools
import inspect
import re

_HELP = (
    "Set which arguments of `{method}` a pipeline or search passes on: True, False, None, or another name for it.\n\n"
    'See "Metadata Routing" in the user guide of scikit-learn.'
)


def shorten_request_help(kind):
    """Give the request methods that scikit-learn has generated for an estimator class two lines of help."""
    for name, request in list(vars(kind).items()):
        if re.fullmatch("set_[a-z_]+_request", name) and hasattr(type(request), "__get__") and hasattr(request, "keys"):
            short = copy.copy(request)
            short.__class__ = _with_short_help(type(request))
            setattr(kind, name, short)


@functools.cache
def _with_short_help(descriptor):
    """Return a subclass of scikit-learn's descriptor whose functions have short help and a plain signature."""

    class RequestMethod(descriptor):
        def __get__(self, instance, owner=None):
            function = super().__get__(instance, owner)
            function.__doc__ = _HELP.format(method=self.name)
            plain = inspect.signature(function)
            parameters = [parameter.replace(annotation=parameter.empty) for parameter in plain.parameters.values()]
            function.__signature__ = plain.replace(parameters=parameters, return_annotation=plain.empty)
            return function

    return RequestMethod
