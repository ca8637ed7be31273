"""The report of a job: one self-contained HTML file.

`facts` asks the results, `offsets` compares the hosts, `plots` draws, `page` puts it together. Rows, completions,
names and errors are text of strangers: they reach the page through the template's autoescape or Matplotlib's, never as
markup.
"""
