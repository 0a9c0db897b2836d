"""What no first answer can be quicker than: import scikit-learn, and load the predictor's file with skops alone."""

import sklearn
import skops.io

PATH = "data/06_models/predictor.skops"
assert sklearn.__version__ and skops.io.load(PATH, trusted=skops.io.get_untrusted_types(file=PATH))
