"""How accurate the method is beside others, and how well it remembers: cells of two tables, run one at a time.

    python -m Testing.Benchmarks.accuracy run --data DATA --out runs/accuracy
    python -m Testing.Benchmarks.accuracy report

A cell is a scenario, a method and a seed. Its result is a JSON file; cells that have one are not run again, and a cell
that was stopped goes on where it was. The reports are made of these files and of nothing else.
"""
