"""Tensor building blocks in `keras.ops`: agents, rankings, CutMix, pseudo-labels, resizing, normalization."""

from rankmatch_keras.layers.agents import AllAgents as AllAgents
from rankmatch_keras.layers.agents import OrthogonalAgents as OrthogonalAgents
from rankmatch_keras.layers.agents import RandomAgents as RandomAgents
from rankmatch_keras.layers.agents import TopAgents as TopAgents
from rankmatch_keras.layers.clock import Clock as Clock
from rankmatch_keras.layers.feature_dropout import FeatureDropout as FeatureDropout
from rankmatch_keras.layers.mixing import ClassMix as ClassMix
from rankmatch_keras.layers.mixing import RandomBoxes as RandomBoxes
from rankmatch_keras.layers.mixing import box_mask as box_mask
from rankmatch_keras.layers.mixing import mix as mix
from rankmatch_keras.layers.normalization import ChannelNormalization as ChannelNormalization
from rankmatch_keras.layers.pixels import gather_agents as gather_agents
from rankmatch_keras.layers.pseudo_labels import pseudo_labels as pseudo_labels
from rankmatch_keras.layers.ranking import plackett_luce_kl as plackett_luce_kl
from rankmatch_keras.layers.resize import FineCoarseConv2D as FineCoarseConv2D
