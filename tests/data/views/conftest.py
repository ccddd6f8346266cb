"""These tests are of the path that needs TensorFlow and keras-cv."""

from rankmatch_keras.data.batches.pipelines import TF_DATA, choose_pipeline

collect_ignore_glob = [] if choose_pipeline("auto") == TF_DATA else ["test_*.py"]
