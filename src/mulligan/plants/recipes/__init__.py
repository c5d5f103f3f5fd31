"""Where the game's networks come from: data sets, architectures and ways of training, drawn at random and quick."""

from .architectures import Cost, build, cost, entry_config, entry_source
from .data import CORPORA, Corpus, CorpusName, Part, available, load_corpus, split
from .drawing import draw_architecture, draw_recipe
from .small_cnn import Architecture, SmallCNN
from .training import Normalise, Recipe, fresh_accuracy, part, plant_data, sealed_data, siblings, train, training_rows

__all__ = [
    "CORPORA", "Architecture", "Corpus", "CorpusName", "Cost", "Normalise", "Part", "Recipe", "SmallCNN", "available",
    "build", "cost", "draw_architecture", "draw_recipe", "entry_config", "entry_source", "fresh_accuracy",
    "load_corpus", "part", "plant_data", "sealed_data", "siblings", "split", "train", "training_rows",
]  # fmt: skip
