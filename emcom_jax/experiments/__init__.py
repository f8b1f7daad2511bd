"""Experiments: classes that jaxline trains and evaluates."""
