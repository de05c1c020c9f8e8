"""Commands that list what there is: recipes, settings, runs; and shell completion."""
