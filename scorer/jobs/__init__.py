"""Jobs: submit, run, go on, look at, repair. Thin: each file is one of these, and the work is done below."""
