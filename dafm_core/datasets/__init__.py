"""Datasets: one module each, all read into base.Dataset."""
