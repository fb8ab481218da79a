"""Training of pose-nets with a learned energy: nets, losses, data, metrics, Ray trainable."""
