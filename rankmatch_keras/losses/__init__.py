"""Loss terms: Keras layers that return a float32 scalar."""

from rankmatch_keras.losses.consistency import PixelConsistencyLoss as PixelConsistencyLoss
from rankmatch_keras.losses.consistency import ProbabilityConsistencyLoss as ProbabilityConsistencyLoss
from rankmatch_keras.losses.consistency import WeightedConsistencyLoss as WeightedConsistencyLoss
from rankmatch_keras.losses.consistency import kept_fraction as kept_fraction
from rankmatch_keras.losses.contrast import ContrastiveLoss as ContrastiveLoss
from rankmatch_keras.losses.correlation import CorrelationConsistencyLoss as CorrelationConsistencyLoss
from rankmatch_keras.losses.nodes import NodeLoss as NodeLoss
from rankmatch_keras.losses.rank import RankConsistencyLoss as RankConsistencyLoss
from rankmatch_keras.losses.supervised import SupervisedLoss as SupervisedLoss
