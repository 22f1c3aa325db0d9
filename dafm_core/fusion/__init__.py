"""Fusion: static rules, logistic stacking and LightFusion, all behind base.Fuser."""
