"""Builds the adapters and joins them with trainables: the only place that knows everything.

Import the module that you need: `stores` is light, `run` loads Ray and torch.
"""
