"""LightFusion: linear weights over channels, and small networks that add to them."""
