"""Key names of the checkpoints that the nets' authors published, and ours.

One module per net, with `convert_<net>`: the parameters of an official checkpoint under our
names, or an error that lists what is unknown and what is missing. `conversions` has all of them
in a table, `sizes` reads a net's options from the tensors' shapes, `reading` reads the files.
"""
