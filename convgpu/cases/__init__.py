"""Tables of named problems for each family, which the tests of all backends and the benchmarks run, with error bounds.
"""
