"""The registered model: MLflow runs this file to load it ("models from code", no pickles).

Artifacts: `checkpoint`, as the trainer wrote it, and `config`, a JSON object with
`training_config` and `skeleton`. Input (N, J, 2) float32, normalised screen coordinates; output
(N, J, 3) float32, root-relative, metres.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow.models
import mlflow.pyfunc
import numpy as np
import torch
from numpy.typing import NDArray

from trainables.builders import build_backbone
from trainables.checkpoint import load_checkpoint
from trainables.config import TrainingConfig
from trainables.seal.lifting import final_lifting, lift_sequence
from trainables.skeletons.description import skeleton_from_reference

__all__ = ["PoseLifterModel"]

_CHUNK = 4096


class PoseLifterModel(mlflow.pyfunc.PythonModel):
    """Lifts 2D poses with the pose-net of a checkpoint, on the CPU."""

    def load_context(self, context: Any) -> None:
        """Build the net and load its weights (weights only, strictly)."""
        facts = json.loads(Path(context.artifacts["config"]).read_text(encoding="utf-8"))
        config = TrainingConfig.model_validate(facts["training_config"])
        self._skeleton = skeleton_from_reference(facts["skeleton"])
        self._lifting = final_lifting(config)
        net = build_backbone(config, self._skeleton)
        checkpoint = load_checkpoint(Path(context.artifacts["checkpoint"]))
        net.load_state_dict(checkpoint.state["pose_net"])
        self._net = net.eval()

    # MLflow reads the hint of model_input as a schema, except for this very class.
    def predict(self, context: Any, model_input: np.ndarray) -> NDArray[np.float32]:
        """Lift poses (N, J, 2) to (N, J, 3), metres, root-relative.

        They are taken for one sequence in order of time if the net looks at neighbours.
        """
        del context
        x = torch.from_numpy(np.array(model_input, dtype=np.float32, order="C"))
        with torch.inference_mode():
            lifted = lift_sequence(self._net, x, self._skeleton, self._lifting, batch_size=_CHUNK)
        y: NDArray[np.float32] = lifted.numpy()
        return y


mlflow.models.set_model(PoseLifterModel())
