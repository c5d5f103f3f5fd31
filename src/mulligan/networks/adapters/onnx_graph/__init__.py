"""`x.onnx`, run as torch: the graph is read, each node becomes a module, and the modules are laid out by their names.

reading     the file as plain data
table       operators, and the module that runs one
computing, shaping, layers, recurrent    the operators
naming      paths from the exporter's names
converting  constants folded, layers made
reshaping   files that were fixed to one batch
adapter     what `load` calls
"""

from .adapter import ADAPTER

__all__ = ["ADAPTER"]
