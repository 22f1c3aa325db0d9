"""Fusion: static rules, the label-free one among them, logistic stacking and LightFusion.

All are behind base.Fuser.
"""
