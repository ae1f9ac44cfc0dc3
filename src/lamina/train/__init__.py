"""Training: one loop over Accelerate, checkpoints that resume bit-equal, run folders."""

from lamina.train.history import History
from lamina.train.loop import evaluate, fit
from lamina.train.optim import adamw, learning_rate
from lamina.train.run import Order, Run, evaluate_run, load_language_model, load_run, load_words, train_run
from lamina.train.start import Start
from lamina.train.words import Classifier, Filler

__all__ = [
    "Classifier", "Filler", "History", "Order", "Run", "Start", "adamw", "evaluate", "evaluate_run", "fit",
    "learning_rate", "load_language_model", "load_run", "load_words", "train_run",
]  # fmt: skip
