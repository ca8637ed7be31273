"""One small loop that keeps every host at its limit and commits every fact.

`loop` asks the fleet who takes what, `feed` brings rows, `ledger` commits and publishes, `lives` follows each host from
absent to usable and back, `seams` is everything that differs between production and the virtual clock.
"""
