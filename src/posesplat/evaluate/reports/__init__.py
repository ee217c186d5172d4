"""HTML reports in one file: the page, its plots and its pictures."""
