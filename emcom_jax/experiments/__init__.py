"""Experiment classes for jaxline; `config.experiment` names one."""

from emcom_jax.experiments.ease_of_learning import EaseOfLearning
from emcom_jax.experiments.newcomer import Newcomer
from emcom_jax.experiments.population import PopulationExperiment

EXPERIMENTS: dict[str, type[PopulationExperiment]] = {
    'population': PopulationExperiment,
    'ease_of_learning': EaseOfLearning,
    'newcomer': Newcomer,
}
