"""Facts about the data as text, pictures and a page."""
