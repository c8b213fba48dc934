"""The engines that run an ensemble: PyTorch, ONNX Runtime, OpenVINO. They agree within tolerances.

===================  ==================================================================================
``engine``           the base of all engines: clips → inputs → outputs, in requests of one size
``torch_engine``     the checkpoints in PyTorch
``onnx_engine``      the exported networks in ONNX Runtime, the front-end in NumPy beside them
``openvino_engine``  the same in OpenVINO
``graph_engine``     graphs that others have trained, by their card; ``onnx_graph_engine``, ``litert_engine``
``graphs``           where such graphs are; ``named_models`` those with a name, such as BirdNET
``combined``         several experiments as one, with weights, joined by label
``engine_settings``  precision, threads and streams, as measured on a machine (``tuning``)
``opening``          a run, a bundle or a file → an engine; ``ensembles`` several of them
===================  ==================================================================================

Predicting with an exported model needs NumPy and the library of its engine, and nothing else.
"""

from dawnchorus.engines.engine import Engine, Outputs
from dawnchorus.engines.opening import EngineName, open_engine

__all__ = ["Engine", "EngineName", "Outputs", "open_engine"]
