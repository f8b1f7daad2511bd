"""Populations of speakers and listeners that learn to communicate."""
