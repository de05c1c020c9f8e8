"""The competition's data: where the files lie, how they are read and cached."""
