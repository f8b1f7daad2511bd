"""The glue between the experiments and jaxline: everything about running that is not research."""
