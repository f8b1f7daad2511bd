"""Agents: networks that several games use, and one file a game."""
