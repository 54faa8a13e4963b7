"""Every error this package raises on purpose.

HeatposeError
├── DataError            a file or folder is missing, or does not hold what its format says
│   ├── MeshError        a CAD model cannot be used
│   └── BundleError      a bundle cannot be used
├── CheckpointError      a training checkpoint or pretrained weights cannot be used
├── UnknownObjectError   an object id that the bundle or data set does not know
├── LabelError           the labels of training samples contradict what is rendered
├── OptionError          an option of a command has a value that makes no sense
└── MissingExtraError    a command needs an optional part of heatpose that is not installed
"""


class HeatposeError(Exception):
    """Base of all errors that carry a message for the user; the command line prints it alone."""


class DataError(HeatposeError):
    """A file or folder is missing, or does not hold what its format says."""


class MeshError(DataError):
    """A CAD model cannot be used."""


class BundleError(DataError):
    """A bundle cannot be used."""


class CheckpointError(HeatposeError):
    """A training checkpoint or pretrained weights cannot be used."""


class UnknownObjectError(HeatposeError):
    """An object id that the bundle or data set does not know."""


class LabelError(HeatposeError):
    """The labels of training samples contradict what is rendered."""


class OptionError(HeatposeError):
    """An option of a command has a value that makes no sense."""


class MissingExtraError(HeatposeError):
    """A command needs an optional part of heatpose that is not installed."""
