"""The pictures of a report: SVG, drawn by Matplotlib."""
