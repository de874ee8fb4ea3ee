"""What can go wrong in a fit."""


class NumericalFailure(FloatingPointError):
    """A loss or a gradient is not a finite number; the message names the step."""
