"""Metrics of generated images: pure functions on features, float64 [N, D].

They run in float64 on the device that holds the real images' features, with the same code on a CPU and on a GPU. Random
numbers come from the CPU, so metrics of the two devices differ by rounding alone and can be compared.
"""
