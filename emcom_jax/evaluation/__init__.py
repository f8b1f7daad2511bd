"""Evaluation: how well speakers and listeners understand each other.

`Evaluator` has one population play on a split, `Interventions` tampers with what it says;
`cross_play` has agents of several runs meet:

    python -m emcom_jax.evaluation --runs runs/a runs/b
"""

from emcom_jax.evaluation.evaluator import Evaluator
from emcom_jax.evaluation.interventions import Interventions

__all__ = ['Evaluator', 'Interventions']
