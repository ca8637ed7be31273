"""Pure decisions: no I/O, no clock, no logging, no event loop. Time and randomness are arguments."""
