"""The methods: each a `keras.Model` whose `fit` trains a segmenter its way."""

from rankmatch_keras.methods.base import Method as Method
from rankmatch_keras.methods.fixmatch import FixMatch as FixMatch
from rankmatch_keras.methods.rankmatch import RankMatch as RankMatch
from rankmatch_keras.methods.registry import METHODS as METHODS
from rankmatch_keras.methods.registry import build as build
from rankmatch_keras.methods.registry import method_named as method_named
from rankmatch_keras.methods.registry import options_of as options_of
from rankmatch_keras.methods.supervised import SupervisedOnly as SupervisedOnly
from rankmatch_keras.methods.unimatch import UniMatch as UniMatch
