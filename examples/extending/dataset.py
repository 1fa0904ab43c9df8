"""A data set of your own under a name: its published counts, and its folders."""

from datasets.layouts import Layout, register_dataset

register_dataset("Harbors", train=40, test=16, layout=Layout("{split}/rgb", "{split}/objects"))
