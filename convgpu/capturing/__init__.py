"""Captured functions: on a GPU they are recorded once as a graph of launches, and the graph is launched from then on.

    region.py    what the rest of the package tells a captured function that is running: host reads, changed objects
    keys.py      for which arguments a graph serves, and what the user is told if there are too many
    donation.py  tensors that are given away
    capture.py   `convgpu.capture`: arguments, results; the function run eagerly, as on the CPU
    graphs.py    what is known of one graph
    recording.py the graph on a GPU: memory, recording, launching
"""
