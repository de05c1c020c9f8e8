"""Kaggle kernels: bundle the package into one script, push it, wait, fetch what it trained."""
