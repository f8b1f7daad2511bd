"""Evaluation: how well speakers and listeners understand each other.

`evaluator.Evaluator` has one population play on a split, `interventions.Interventions` tampers with
what it says; `cross_play` has agents of several runs meet:

    python -m emcom_jax.evaluation --runs runs/a runs/b
"""
