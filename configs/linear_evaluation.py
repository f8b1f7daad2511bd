"""Linear evaluation: what a linear classifier can read off what the trunk of a run sees.

Papers: Dessì, Kharitonov & Baroni, Interpretable agent communication from scratch (with a generic
visual processor emerging on the side), NeurIPS 2021; Chen, Kornblith, Norouzi & Hinton, A simple
framework for contrastive learning of visual representations, ICML 2020.

    python -m emcom_jax.main --config=configs/linear_evaluation.py \\
        --config.from_run=runs/discrimination
    python -m emcom_jax.main --config=configs/linear_evaluation.py:VARIANT --config.from_run=...

    transfer   on the drawn scenes and on the photographs, whatever the run was trained on
    per_class  with 1, 5 and 10 labelled images of each class
    debug      seconds; combines with the others

The trunk of the best checkpoint stays as it is and sees images without augmentation. Beside it
stand a trunk of the same architecture that never learnt, and the pixels. Top-1 and top-5 are of the
test split; of images with several classes (voc2007) it is the mean average precision, without
interpolation (`map`, as scikit-learn's) and by the eleven points of the VOC challenges to 2009
(`map_11_points`). Rows that end in `_valid` are of the split that chose among classifiers: the
strength of the L2 penalty is the best of `linear_evaluation.l2` on the whole validation
split, also where few labels of the training split are known.

Other data, such as a folder of images:
--config.linear_evaluation.data="'shapes',{'name': 'image_folder', 'path': 'FOLDER'}"
The experiment's own defaults are in `emcom_jax/probes.py`.
"""

from ml_collections import ConfigDict

from emcom_jax import config as config_lib

VARIANTS = {
    'transfer': {'linear_evaluation.data': ('shapes', 'photos')},
    'per_class': {'linear_evaluation.shares': (1.0,), 'linear_evaluation.per_class': (1, 5, 10)},
    'debug': {
        'training_steps': 20,
        'linear_evaluation.shares': (0.5, 1.0),
        'linear_evaluation.draws': 2,
        'linear_evaluation.l2': (0.01, 1.0),
        'linear_evaluation.pixels': 4,
        'linear_evaluation.batch_size': 32,
    },
}


def get_config(variant: str = '') -> ConfigDict:
    return config_lib.recipe(variant, VARIANTS, 'linear_evaluation')
