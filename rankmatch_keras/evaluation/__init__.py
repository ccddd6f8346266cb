"""Evaluation: inference by a protocol, metrics, scores, tables and pictures.

matplotlib is imported only when a picture is drawn.
"""

from rankmatch_keras.evaluation.boundary import BoundaryCounts as BoundaryCounts
from rankmatch_keras.evaluation.colors import default_palette as default_palette
from rankmatch_keras.evaluation.colors import to_display as to_display
from rankmatch_keras.evaluation.curves import save_curves as save_curves
from rankmatch_keras.evaluation.evaluator import Evaluator as Evaluator
from rankmatch_keras.evaluation.evaluator import evenly_spaced as evenly_spaced
from rankmatch_keras.evaluation.evaluator import progress_bar as progress_bar
from rankmatch_keras.evaluation.inference import predict_classes as predict_classes
from rankmatch_keras.evaluation.inference import predict_probabilities as predict_probabilities
from rankmatch_keras.evaluation.metrics import ConfusionMatrix as ConfusionMatrix
from rankmatch_keras.evaluation.overlays import overlay as overlay
from rankmatch_keras.evaluation.plots import save_mask_png as save_mask_png
from rankmatch_keras.evaluation.plots import save_prediction_sheet as save_prediction_sheet
from rankmatch_keras.evaluation.scores import Scores as Scores
from rankmatch_keras.evaluation.scores import weights_hash as weights_hash
from rankmatch_keras.evaluation.scores import worst as worst
from rankmatch_keras.evaluation.scores import write_csv as write_csv
from rankmatch_keras.evaluation.scores import write_image_csv as write_image_csv
from rankmatch_keras.evaluation.scores import write_json as write_json
from rankmatch_keras.evaluation.tables import format_comparison as format_comparison
from rankmatch_keras.evaluation.tables import format_table as format_table
