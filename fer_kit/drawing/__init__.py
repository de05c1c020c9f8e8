"""What pages and picture files are made of: matplotlib figures, HTML, HTML tables, SVG charts."""
