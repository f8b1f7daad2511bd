"""Dataset builders (TensorFlow Datasets, written as array_record) and the data they prepare.

See README.md in this folder for what each dataset is, where it comes from and how to get it.
"""

import pathlib

# Where data lies unless `--config.data.path` says otherwise; git-ignored.
DATA_FOLDER = pathlib.Path(__file__).parent / 'data'
