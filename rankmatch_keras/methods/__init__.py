"""The methods: each a `keras.Model` whose `fit` trains a segmenter its way."""

from rankmatch_keras.methods.ael import AEL as AEL
from rankmatch_keras.methods.augseg import AugSeg as AugSeg
from rankmatch_keras.methods.base import Method as Method
from rankmatch_keras.methods.contrastive_unimatch import ContrastiveUniMatch as ContrastiveUniMatch
from rankmatch_keras.methods.cotraining import CoTraining as CoTraining
from rankmatch_keras.methods.cps import CPS as CPS
from rankmatch_keras.methods.css import CSS as CSS
from rankmatch_keras.methods.cutmix_mean_teacher import CutMixMeanTeacher as CutMixMeanTeacher
from rankmatch_keras.methods.daw import DAW as DAW
from rankmatch_keras.methods.dgcl import DGCL as DGCL
from rankmatch_keras.methods.dual_teacher import DualTeacher as DualTeacher
from rankmatch_keras.methods.esl import ESL as ESL
from rankmatch_keras.methods.fixmatch import FixMatch as FixMatch
from rankmatch_keras.methods.imas import IMAS as IMAS
from rankmatch_keras.methods.mean_teacher import MeanTeacher as MeanTeacher
from rankmatch_keras.methods.rankmatch import RankMatch as RankMatch
from rankmatch_keras.methods.registry import METHODS as METHODS
from rankmatch_keras.methods.registry import build as build
from rankmatch_keras.methods.registry import check_options as check_options
from rankmatch_keras.methods.registry import method_named as method_named
from rankmatch_keras.methods.registry import needs_second as needs_second
from rankmatch_keras.methods.registry import options_of as options_of
from rankmatch_keras.methods.registry import takes_second as takes_second
from rankmatch_keras.methods.supervised import SupervisedOnly as SupervisedOnly
from rankmatch_keras.methods.u2pl import U2PL as U2PL
from rankmatch_keras.methods.unimatch import UniMatch as UniMatch
