"""The drawings of `shapes`, a file for each family and a function for each class.

A function (a, b, extra) returns the parts of an object, the hindmost first: `a` and `b` in [-1, 1]
change its proportions, `extra` adds a part that not all of its kind have. Parts go by the names
that descriptions have for them.
"""
