"""Lamina: every deep structure behind one contract, where the training form equals the streaming form."""
