"""The Kaggle client as a subprocess: commands, answers, faults and credentials."""
