"""RankMatch with pseudo-labels from a finished network: the cost of strong views apart from that of pseudo-labels.

Example:
  rankmatch train recipes/camvid.py --data DIR --labels 300 --method supervised --out runs/teacher
  python benchmarks/frozen_teacher.py train recipes/camvid.py --data DIR --labels 6 --method frozenteacher \
      --set teacher=runs/teacher/last.keras --set threshold=0 --set rank_weight=0 --out runs/taught

This is `rankmatch` with one more method, `frozenteacher`. It adds two options to RankMatch's: `teacher`, the file of a
network like the one in training, and `student_sees`, either `strong` or `weak` (what the teacher sees).
"""

import keras

from rankmatch_keras.cli import main
from rankmatch_keras.layers.base import argument_names
from rankmatch_keras.methods import METHODS, RankMatch
from rankmatch_keras.methods.fixmatch import StrongView
from rankmatch_keras.models import start_from


@keras.saving.register_keras_serializable("benchmarks")
class FrozenTeacher(RankMatch):
    """RankMatch with a teacher that is read from a file, runs in inference mode and never changes."""

    def __init__(self, segmenter, *, teacher: str, student_sees: str = "strong", **options):
        if student_sees not in ("strong", "weak"):
            raise ValueError(f"Expected student_sees 'strong' or 'weak'. Received: {student_sees!r}")
        super().__init__(segmenter, **options, ema_decay=1.0)
        self.student_sees = student_sees
        self.file = teacher
        start_from(self.teacher.network, teacher)

    def update_teacher(self):
        """Leave the teacher unchanged."""

    def strong_view(self, batch, number, targets):
        """Return the strong view with its CutMix box, or the weak view that the teacher saw."""
        if self.student_sees == "weak":
            return StrongView(batch["weak_image"], targets.weak)
        return super().strong_view(batch, number, targets)

    def get_config(self):
        """Return the constructor's arguments; the attribute `teacher` is the EMA teacher, the argument its file."""
        names = {*argument_names(RankMatch)} - {"segmenter", "ema_decay"}
        config = {name: getattr(self, name) for name in names}
        segmenter = keras.saving.serialize_keras_object(self.segmenter)
        return {
            **config,
            "segmenter": segmenter,
            "teacher": self.file,
            "student_sees": self.student_sees,
            "name": self.name,
        }


METHODS["frozenteacher"] = FrozenTeacher

if __name__ == "__main__":
    main()
