"""Reports made from results: figures, tables for the terminal, comparisons, pictures."""
