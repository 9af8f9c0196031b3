"""How far generated images are from real ones: pure functions on features, float64 [N, D].

They are computed in float64 on the device where the real images' features lie, by the same code, and what is drawn at
random is drawn on the CPU, so that figures of a CPU and of a GPU differ by rounding alone and may be compared.
"""
