"""What can go wrong in a fit."""


class NumericalFailure(FloatingPointError):
    """A loss or a gradient is not a finite number; the message names the step."""


class GroupBroken(RuntimeError):
    """Another process of a data-parallel fit has ended or does not answer; the weights of this one are of no use."""
