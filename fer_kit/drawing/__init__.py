"""Pictures, pages, tables and charts."""
