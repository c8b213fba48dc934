"""The engines that run an ensemble: PyTorch, ONNX Runtime, OpenVINO. They agree within tolerances.

====================  =================================================================================
``runtime``           the base of all engines: clips → inputs → outputs, in requests of one size
``torch_runtime``     the checkpoints in PyTorch
``onnx_runtime``      the exported networks in ONNX Runtime, the front-end in NumPy beside them
``openvino_runtime``  the same in OpenVINO
``combined``          several experiments as one, with weights, joined by label
``engine_settings``   precision, threads and streams, as measured on a machine (``tuning``)
``opening``           a run, a bundle or a file → a runtime; ``ensembles`` several of them
====================  =================================================================================

An exported model needs NumPy and its engine here, and nothing else.
"""

from dawnchorus.engines.opening import EngineName, open_runtime
from dawnchorus.engines.runtime import Outputs, Runtime

__all__ = ["EngineName", "Outputs", "Runtime", "open_runtime"]
