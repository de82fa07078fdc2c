"""What is made of results: figures, tables in the terminal, comparisons, pictures."""
