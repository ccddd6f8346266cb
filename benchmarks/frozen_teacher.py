"""What strong views and pseudo-labels cost: RankMatch with the labels of a finished network in place of its own.

Example:
  rankmatch train recipes/camvid.py --data DIR --labels 300 --method supervised --out runs/teacher
  python benchmarks/frozen_teacher.py train recipes/camvid.py --data DIR --labels 6 --method frozenteacher \
      --set teacher=runs/teacher/last.keras --set views=strong --set threshold=0 --set rank_weight=0 --out runs/taught

`rankmatch` with one method more. Its options are RankMatch's, `teacher`, the file of a network like the one that is
trained, and `views`: `strong`, or `weak` for students that see what the teacher sees.
"""

import keras

from rankmatch_keras.cli import main
from rankmatch_keras.methods import RankMatch
from rankmatch_keras.methods.registry import METHODS
from rankmatch_keras.methods.weak_to_strong import StrongView
from rankmatch_keras.models import start_from


@keras.saving.register_keras_serializable("benchmarks")
class FrozenTeacher(RankMatch):
    """RankMatch whose teacher is a network from a file, in inference mode, that never moves."""

    def __init__(self, segmenter, preset="paper", *, teacher: str, views: str = "strong", **overrides):
        if views not in ("strong", "weak"):
            raise ValueError(f"Expected views 'strong' or 'weak'. Received: views={views!r}")
        super().__init__(segmenter, preset, **overrides, ema_decay=1.0)
        self.file = teacher
        self.views = views
        start_from(self.teacher.network, teacher)

    def follow(self):
        """Leaves the teacher as it is."""

    def strong_view(self, batch, number, teacher):
        """The strong view with its box, or the weak view as the teacher saw it."""
        if self.views == "weak":
            return StrongView(batch["weak_image"], teacher.weak)
        return super().strong_view(batch, number, teacher)

    def get_config(self):
        """Returns the constructor's arguments."""
        config = {**super().get_config(), "teacher": self.file, "views": self.views}
        del config["ema_decay"]
        return config


METHODS["frozenteacher"] = FrozenTeacher

if __name__ == "__main__":
    main()
