"""Experiment classes: for jaxline, or such as train no agents; `config.experiment` names one."""

from emcom_jax.experiments.ease_of_learning import EaseOfLearning
from emcom_jax.experiments.linear_evaluation import LinearEvaluation
from emcom_jax.experiments.newcomer import Newcomer
from emcom_jax.experiments.population import PopulationExperiment

EXPERIMENTS: dict[str, type[PopulationExperiment] | type[LinearEvaluation]] = {
    'population': PopulationExperiment,
    'ease_of_learning': EaseOfLearning,
    'newcomer': Newcomer,
    'linear_evaluation': LinearEvaluation,
}
