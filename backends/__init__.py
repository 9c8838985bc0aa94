"""Adapters: each executes core's plans on one framework."""
