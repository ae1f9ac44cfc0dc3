"""The peers, a file each: how our inputs and weights become theirs. Nothing of theirs is imported before it is run."""
