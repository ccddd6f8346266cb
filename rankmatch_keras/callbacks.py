"""The Keras callbacks under their public name."""

from rankmatch_keras.training.callbacks import EpochLines as EpochLines
from rankmatch_keras.training.callbacks import Evaluation as Evaluation
from rankmatch_keras.training.callbacks import ProgressLines as ProgressLines
from rankmatch_keras.training.callbacks import Snapshots as Snapshots
from rankmatch_keras.training.callbacks import StopOnNonFinite as StopOnNonFinite
from rankmatch_keras.training.checkpoint import Checkpoint as Checkpoint
from rankmatch_keras.training.cost import Cost as Cost
from rankmatch_keras.training.pseudo_label_health import PseudoLabelHealth as PseudoLabelHealth
