"""What users would pick instead, and paribus, all doing the same work.

Each module has a function that ``measuring.Contender`` names: it sets a contender up and returns
what trains it so many steps further, whole epochs of them.
"""
