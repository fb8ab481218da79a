"""Key names of the checkpoints that the nets' authors published, and ours.

One module per net, with `convert_<net>`: the parameters of an official checkpoint under our
names, or an error that lists what is unknown and what is missing.
"""
