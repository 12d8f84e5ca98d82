"""A million generated bad inputs, for every parser and every route, in this process.

``python -m tests.faultlab.inputs --count 1000000 --seed 1``. An input is made from the seed, its part and its number
alone, so ``--only PART --at NUMBER`` tries one of them again.
"""
