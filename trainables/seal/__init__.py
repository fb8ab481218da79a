"""Training with Structured Energy As Loss: objectives, alternating step, epoch loop."""

from trainables.seal.trainer import SealTrainer

__all__ = ["SealTrainer"]
