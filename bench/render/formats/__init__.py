"""How a table or a document is written: text, Markdown, CSV, JSON, HTML, JUnit."""
