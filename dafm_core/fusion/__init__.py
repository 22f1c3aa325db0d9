"""Fusion: static rules, the label-free fusion, logistic stacking and LightFusion, all behind base.Fuser."""
