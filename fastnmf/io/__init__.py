"""Read and write files: archives without pickles, saved models, and checkpoints of fits."""
