"""The methods, one `keras.Model` per article whose `fit` trains a segmenter, and their construction by name."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from rankmatch_keras.errors import UserError, did_you_mean
from rankmatch_keras.methods.ael import AEL as AEL
from rankmatch_keras.methods.augseg import AugSeg as AugSeg
from rankmatch_keras.methods.base import Method as Method
from rankmatch_keras.methods.base import options_of as options_of
from rankmatch_keras.methods.cct import CCT as CCT
from rankmatch_keras.methods.contrastive_unimatch import ContrastiveUniMatch as ContrastiveUniMatch
from rankmatch_keras.methods.corrmatch import CorrMatch as CorrMatch
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
from rankmatch_keras.methods.logicdiag import LogicDiag as LogicDiag
from rankmatch_keras.methods.mean_teacher import MeanTeacher as MeanTeacher
from rankmatch_keras.methods.np_semiseg import NPSemiSeg as NPSemiSeg
from rankmatch_keras.methods.rankmatch import RankMatch as RankMatch
from rankmatch_keras.methods.self_training import SelfTraining as SelfTraining
from rankmatch_keras.methods.supervised import SupervisedOnly as SupervisedOnly
from rankmatch_keras.methods.u2pl import U2PL as U2PL
from rankmatch_keras.methods.unimatch import UniMatch as UniMatch
from rankmatch_keras.methods.unimatch_v2 import UniMatchV2 as UniMatchV2

METHODS: dict[str, type[Method]] = {
    "supervised": SupervisedOnly,
    "fixmatch": FixMatch,
    "unimatch": UniMatch,
    "rankmatch": RankMatch,
    "meanteacher": MeanTeacher,
    "cutmixmeanteacher": CutMixMeanTeacher,
    "augseg": AugSeg,
    "imas": IMAS,
    "dualteacher": DualTeacher,
    "daw": DAW,
    "ael": AEL,
    "cps": CPS,
    "cotraining": CoTraining,
    "u2pl": U2PL,
    "dgcl": DGCL,
    "css": CSS,
    "esl": ESL,
    "contrastive": ContrastiveUniMatch,
    "unimatchv2": UniMatchV2,
    "corrmatch": CorrMatch,
    "selftraining": SelfTraining,
    "cct": CCT,
    "npsemiseg": NPSemiSeg,
    "logicdiag": LogicDiag,
}


def method_named(name: str) -> type[Method]:
    """Return the class of a method.

    Raises:
        UserError: there is none of that name; the message says which comes nearest.
    """
    if name not in METHODS:
        raise _unknown("a method", name, METHODS)
    return METHODS[name]


def takes_second(kind: type[Method]) -> bool:
    """Return whether a method trains a second network, the argument `second` of its constructor."""
    return "second" in inspect.signature(kind.__init__).parameters


def needs_second(kind: type[Method]) -> bool:
    """Return whether a method cannot make its second network itself."""
    parameter = inspect.signature(kind.__init__).parameters.get("second")
    return parameter is not None and parameter.default is parameter.empty


def check_options(name: str, given: Iterable[str], further: Iterable[str] = ()) -> None:
    """Check that a method has the given options.

    Args:
        name: the method's name.
        given: the options' names, or their values by name.
        further: names that may be given too, although they are not the method's own.

    Raises:
        UserError: an unknown method or option, or a text in place of a number.
    """
    kind = method_named(name)
    known = [*options_of(kind), *further]
    for option in given:
        if option not in known:
            raise _unknown(f"an option of {name}", option, known)
    if isinstance(given, Mapping):
        for option, value in given.items():
            _check_kind(kind, option, value)


def _check_kind(kind, option, value):
    """Check that a value is a number where the option's default is one."""
    signatures = [inspect.signature(base.__init__).parameters for base in kind.__mro__[:-1]]
    default = next((found[option].default for found in signatures if option in found), None)
    if isinstance(default, int | float) and not isinstance(default, bool) and isinstance(value, str):
        raise UserError(f"a number as {option}", f"{value!r}", f"Give e.g. {option}={default}.")


def build(
    name: str,
    segmenter,
    given: Mapping[str, Any],
    usual: Mapping[str, Any] | None = None,
    second=None,
    preset: str | None = None,
) -> Method:
    """Make a method.

    Args:
        name: the method's name.
        segmenter: the network to train.
        given: options that the user asks for; each must be one of the method's. They win over the preset.
        usual: defaults for the options that the method has; the preset wins over them.
        second: another network, for methods that train two.
        preset: name of one of the method's `presets`; without effect on a method that has none of that name.

    Raises:
        UserError: an unknown method or option, or a value that the method refuses.
    """
    check_options(name, given)
    kind = method_named(name)
    known = options_of(kind)
    options = {option: value for option, value in (usual or {}).items() if option in known}
    options |= {**kind.presets.get(preset or "", {}), **given}
    if second is not None:
        options["second"] = second
    try:
        return kind(segmenter, **options)
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        raise UserError(f"options that {name} can work with", str(error), "Correct the option.") from error


def _unknown(what, name, known):
    return UserError(what, f"{name!r}", did_you_mean(name, known, f"Take one of {', '.join(sorted(known))}."))
